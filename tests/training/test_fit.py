"""Training from Python: the README's lines, the bits of train.py, and an unchanged network."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import person_reid as reid
import train
from benchmarks.support.people import write_people
from person_reid.data.torch_dataset import decode_items
from tests.support import ROOT
from tests.support.flags import ON_THE_PROCESSOR
from tests.support.runs import equal_weights, log, weights
from tests.support.small_training import trained_as

SMALL: Any = {"total_epoch": 2, "batchsize": 8, "lr": 0.02, "erasing_p": 0.5}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """A folder with a small data set where the README has a drawn one."""
    folder = tmp_path_factory.mktemp("fitted")
    data = folder / "data" / "synthetic" / "pytorch"
    write_people(data / "train_all", people=6, images=8)
    write_people(data / "val", people=6, images=1)
    for name in ("query", "gallery"):
        write_people(data / name, people=4, images=2, seed=1)
    return folder


@pytest.fixture(autouse=True)
def here(cwd, monkeypatch):
    monkeypatch.chdir(cwd)


@pytest.fixture
def dataset():
    return reid.read_dataset("data/synthetic/pytorch")


def created(dataset, name="test_resnet", **options):
    return reid.create_model(name, dataset.num_classes, size=(64, 32), **options)


def test_ten_lines_of_the_page_train_and_test_a_network(capsys):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", page, re.S)[0]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 10
    # Six people fill no batch of 32.
    small = block.replace("total_epoch=20", "total_epoch=1")
    small = small.replace("lr=0.05))", 'lr=0.05, batchsize=8), device="cpu")')
    assert small.count("batchsize") == 1
    for person, name in enumerate(("a.jpg", "b.jpg")):
        Image.new("RGB", (64, 128), (100 * person, 50, 50)).save(name)
    exec(small, {})
    assert re.search(r"loss \d.*\nRank@1 .*%, mAP .*%", capsys.readouterr().out, re.S)


def test_fit_trains_the_network_of_train_py(dataset):
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    words = [
        *ON_THE_PROCESSOR,
    ]
    words += ["--data_dir", "data/synthetic/pytorch", "--train_all", "--name", "run", *flags]
    train.main(words)
    network = created(dataset)
    history = reid.fit(network, dataset, reid.FitOptions(**SMALL), device="cpu")
    assert equal_weights(network.state_dict(), weights("run"))
    timeless = [{**record, "seconds": 0, "images_per_second": 0} for record in history]
    assert timeless == [{**record, "seconds": 0, "images_per_second": 0} for record in log("run")]
    assert trained_as(*words).lr == SMALL["lr"]


def test_a_network_is_given_back_as_it_was(dataset):
    network = created(dataset, "osnet_x0_25").eval()
    network.model.conv1.requires_grad_(False)
    kinds = [type(module) for module in network.modules()]
    reid.fit(
        network, dataset, reid.FitOptions(**{**SMALL, "total_epoch": 1}, alpha=0.5), device="cpu"
    )
    assert [type(module) for module in network.modules()] == kinds
    assert not any(module.training for module in network.modules())
    assert not any(weight.requires_grad for weight in network.model.conv1.parameters())


def bits(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_two_fits_in_two_threads_train_what_each_trains_alone(dataset):
    def fitted(_=None):
        network = created(dataset, "osnet_x0_25")
        options = reid.FitOptions(**SMALL, arcface=True)  # its prototypes are drawn as well
        reid.fit(network, dataset, options, device="cpu")
        return network.state_dict()

    alone = fitted()
    with ThreadPoolExecutor(2) as pool:
        for beside in pool.map(fitted, range(2)):
            assert equal_weights(alone, beside)


def test_the_random_numbers_of_a_program_go_on_as_if_nothing_had_been_trained(dataset):
    network = created(dataset)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    reid.create_model("test_resnet", 6, size=(64, 32))
    reid.fit(network, dataset, reid.FitOptions(**SMALL, wa=True), device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_the_lines_of_the_page_give_one_network_each_time(dataset):
    def trained():
        network = reid.create_model("test_resnet", dataset.num_classes, size=(64, 32))
        reid.fit(network, dataset, reid.FitOptions(**SMALL), device="cpu")
        return network.state_dict()

    assert equal_weights(trained(), trained())


def test_options_that_stand_for_others_mean_the_same_as_in_train_py(dataset):
    fitted = []
    for options in ({"cosine": True}, {"schedule": "cosine"}, {}):
        network = created(dataset)
        reid.fit(network, dataset, reid.FitOptions(**SMALL, **options), device="cpu")
        fitted.append(network.state_dict())
    assert equal_weights(fitted[0], fitted[1])
    assert not equal_weights(fitted[0], fitted[2])


def test_balanced_convolutions_are_those_of_train_py(dataset):
    network = created(dataset)
    options = reid.FitOptions(**{**SMALL, "lr": 1e-9, "total_epoch": 1}, balance=0.1)
    reid.fit(network, dataset, options, device="cpu")
    sizes = [
        layer.weight.square().mean().sqrt().item()
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    assert sizes == pytest.approx([0.1] * len(sizes), rel=1e-3)


def test_layers_keep_their_weights_and_statistics_if_they_are_frozen(dataset):
    network = created(dataset, "osnet_x0_25")
    before = bits(network)
    options = reid.FitOptions(**SMALL, freeze_layers="conv1,model.conv2.0")
    reid.fit(network, dataset, options, device="cpu")
    frozen = ("model.conv1.", "model.conv2.0.")
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not name.startswith("model.classifier"):
            assert torch.equal(value, before[name]) == name.startswith(frozen), name
    assert all(weight.requires_grad for weight in network.model.conv1.parameters())


def test_a_network_that_its_user_froze_is_trained_above_it(dataset):
    network = created(dataset)
    network.model.requires_grad_(False)
    before = network.model.conv1[0].weight.clone()
    history = reid.fit(network, dataset, reid.FitOptions(**SMALL), device="cpu")
    assert torch.equal(network.model.conv1[0].weight, before)
    assert not network.model.conv1[0].weight.requires_grad
    assert history[0]["lr"] == SMALL["lr"]


def frozen(network):
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (frozen, {}, "All weights are frozen"),
        (torch.nn.Module.half, {}, r"weights of torch\.float16.*network\.float\(\)"),
        (torch.nn.Module.double, {}, r"weights of torch\.float64"),
        (torch.nn.Module.train, {"batchsize": 1}, "batches of 1 images.*a larger batchsize"),
        (torch.nn.Module.eval, {"freeze_layers": "layer9"}, "no layer 'layer9'"),
        (torch.nn.Module.eval, {"freeze_layers": "model,classifier"}, "All weights are frozen"),
        (torch.nn.Module.eval, {"instances": 8}, "instances=8 would be ignored without sampler"),
        (
            torch.nn.Module.eval,
            {"teacher": "nobody", "loss": "teacher_features:5"},
            r"teacher=nobody only names a network.*teacher=Embedder",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_is_named_and_stays_as_it_was(
    change, options, message, dataset
):
    network = change(created(dataset))
    modes, before = [module.training for module in network.modules()], bits(network)
    with pytest.raises(reid.UserError, match=message):
        reid.fit(network, dataset, reid.FitOptions(**{**SMALL, **options}), device="cpu")
    assert [module.training for module in network.modules()] == modes
    assert equal_weights(network.state_dict(), before)


def test_the_rate_of_layers_decays_only_where_they_are_known(dataset):
    network, options = created(dataset, "osnet_x0_25"), reid.FitOptions(**SMALL, layer_decay=0.7)
    with pytest.raises(reid.UserError, match="layer_decay=0.7: this backbone does not say what"):
        reid.fit(network, dataset, options, device="cpu")


def test_any_module_is_extracted(dataset):
    network = created(dataset).eval()

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network

        def forward(self, images):
            return self.inside.embed(images)

    query, gallery = reid.extract(Other(), dataset, device="cpu", size=(64, 32))
    expected = reid.extract(network, dataset, device="cpu")
    torch.testing.assert_close(query.features, expected[0].features, rtol=1e-4, atol=1e-5)
    assert len(gallery.features) == len(dataset.gallery)
    with pytest.raises(reid.UserError, match=r"Conv2d returns Tensor \(.*expected a tensor"):
        reid.extract(torch.nn.Conv2d(3, 4, 1), dataset, device="cpu", size=(64, 32))


def test_the_averaged_weights_are_the_result_of_a_training_that_averages(dataset):
    plain, averaged = created(dataset), created(dataset)
    for network, wa in ((plain, False), (averaged, True)):
        reid.fit(network, dataset, reid.FitOptions(**SMALL, wa=wa), device="cpu")
    assert not equal_weights(plain.state_dict(), averaged.state_dict())


def test_an_interruption_ends_the_training_and_the_finished_epochs_are_returned(
    dataset, monkeypatch
):
    epochs = []

    def epoch(images, number, first=0, original=reid.TrainingImages.epoch):
        epochs.append(number)
        if number == 1:
            raise KeyboardInterrupt
        return original(images, number, first)

    monkeypatch.setattr(reid.TrainingImages, "epoch", epoch)
    assert [
        record["epoch"] for record in reid.fit(created(dataset), dataset, reid.FitOptions(**SMALL))
    ] == [1]


def test_the_embedding_of_a_network_is_what_is_tested(dataset):
    network = created(dataset, neck="bnneck")
    images = torch.randn(2, 3, 64, 32)
    features, logits = network(images)
    assert features.shape == (2, network.dim)
    assert logits.shape == (2, 6)
    assert torch.equal(network.eval()(images), network.embed(images))
    bare = reid.create_model("test_resnet", size=(64, 32))
    assert bare.train()(images).shape == (2, bare.dim)


def test_query_and_gallery_are_extracted_as_the_embedder_does(dataset):
    network = created(dataset).train()
    torch.save(network.state_dict(), "net.pth")
    query, gallery = reid.extract(network, dataset, device="cpu")
    assert network.training
    assert len(query.labels) == 8
    assert len(gallery.labels) == 8
    spec = reid.NetworkOptions(backbone="test_resnet", height=64, width=32)
    embed = reid.Embedder(reid.NetworkToTest(spec, "net.pth", 6), device="cpu")
    torch.testing.assert_close(query.features, embed(dataset.query.paths), rtol=1e-4, atol=1e-5)
    assert 0 < reid.evaluate(query, gallery).mAP <= 1


def test_the_items_of_any_dataset_keep_their_people_and_cameras():
    picture = Image.new("RGB", (8, 16), "red")
    split, bank = decode_items([(picture, "b", 2), (picture, "a", 1), (picture, "b", 1)], (16, 8))
    assert split.classes == ["a", "b"]
    assert split.targets.tolist() == [1, 0, 1]
    assert split.cameras.tolist() == [2, 1, 1]
    assert (bank == torch.tensor([255, 0, 0])).all()


def test_splits_and_samplers_serve_a_loader_of_torch(dataset):
    picture, target, camera = dataset.train[0]
    assert picture.mode == "RGB"
    assert target == 0
    assert len(dataset.train) == 48
    assert camera == dataset.train.cameras[0]
    assert all(
        isinstance(split, torch.utils.data.Dataset)
        for split in (dataset.train, dataset.query, dataset.gallery)
    )
    assert repr(dataset).count("\n") == 0
    assert "48 images of 6 people" in repr(dataset)
    assert repr(dataset.train).startswith("ImageSplit(48 images of 6 identities from ")
    images = reid.TrainingImages(
        [(Path("data/synthetic/pytorch/train_all"), dataset.train)],
        reid.FitOptions(batchsize=8),
        torch.device("cpu"),
    )
    loader = torch.utils.data.DataLoader(
        dataset.train,
        batch_sampler=images.sampler,
        collate_fn=lambda items: [item.target for item in items],
    )
    first, second = list(loader), list(loader)
    assert len(first) == 6
    assert sorted(chain(*first)) == sorted(dataset.train.targets)
    assert first != second


class Stream(torch.utils.data.IterableDataset):
    """A stream of 17 images that says another number, or none."""

    def __iter__(self):
        return ((torch.randn(3, 32, 16), i % 4, 0) for i in range(17))


IMAGES = [(torch.zeros(3, 32, 16).double() + i / 17, i % 4, 0) for i in range(17)]
SAID = type("Said", (Stream,), {"__len__": lambda self: 8})
NOTHING = type("Nothing", (SAID,), {"__iter__": lambda self: iter(())})
# The arguments of a loader of torch, and how many steps fit makes, or what it says.
LOADERS = {
    "a last batch of one": ((IMAGES, 8), 2),
    "a last batch of two": ((IMAGES, 5), 4),
    "a stream longer than it says": ((SAID(), 4), 2),
    "a stream without a length": ((Stream(), 4), "Give its dataset a __len__"),
    "no images": ((IMAGES[:0], 8), "no batch of two images"),
    "a single image": ((IMAGES[:1], 8), "no batch of two images"),
    "batches of one": ((IMAGES, 1), "no batch of two images"),
    "identities from 1": (([(image, 1 + who) for image, who, _ in IMAGES], 8), "has 4 classes"),
    "a stream of nothing": ((NOTHING(), 4), "no batch of two images"),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_of_torch_trains_or_is_refused_in_words(kind, caplog):
    arguments, expected = LOADERS[kind]
    loader = torch.utils.data.DataLoader(*arguments)
    network = reid.create_model("resnet18", num_classes=4, size=(32, 16))
    options = reid.FitOptions(total_epoch=1, lr=1e-4)
    if isinstance(expected, str):
        with pytest.raises(reid.UserError, match=expected):
            reid.fit(network, loader, options, device="cpu")
        return
    steps = []

    def schedule(update, options):
        steps.append(update)
        return 1.0

    reid.fit(network, loader, options, device="cpu", schedule=schedule)
    assert max(update.step for update in steps) == expected
    assert {update.steps_per_epoch for update in steps} == {expected}
    assert ("single image, and is skipped" in caplog.text) == (kind == "a last batch of one")


def test_a_batch_of_one_is_left_out_wherever_it_is(caplog):
    images: Any = IMAGES
    loader: Any = torch.utils.data.DataLoader(images, batch_sampler=[[0, 1], [2], [3, 4]])
    network = reid.create_model("resnet18", num_classes=4, size=(32, 16))
    options, updates = reid.FitOptions(total_epoch=1, lr=1e-4), []

    def schedule(update, options):
        updates.append(update.step)
        return 1.0

    (record,) = reid.fit(network, loader, options, device="cpu", schedule=schedule)
    assert np.isfinite(record["loss"])
    assert max(updates) == 2  # the batch after it also counts
    assert "single image, and is skipped" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fp16": True, "bf16": True}, "fp16 and bf16 exclude each other"),
        ({"sync_bn": True}, "sync_bn: batch norms are synchronised between processes"),
        ({"resize_schedule": "32x16,48x24"}, "the last size is that of the trained network"),
        ({"loss": "triplt"}, "Did you mean 'triplet'"),
        ({"teacher": "nobody"}, "teacher=nobody would be ignored"),
    ],
)
def test_what_cannot_work_is_said_in_words_of_python(options, message, dataset):
    with pytest.raises(reid.UserError, match=message) as error:
        reid.fit(created(dataset), dataset, reid.FitOptions(**options), device="cpu")
    assert "--" not in str(error.value)


def test_a_network_for_other_people_is_refused(dataset):
    with pytest.raises(
        reid.UserError, match=r"has 0 classes, and the data set 6 identities: create_model"
    ):
        reid.fit(reid.create_model("test_resnet", size=(64, 32)), dataset)


@pytest.mark.parametrize("no_tf32", [False, True])
def test_the_precision_of_a_gpu_is_the_one_asked_for(no_tf32, dataset, monkeypatch):
    class Prepared(Exception):
        pass

    def prepare(place, tf32):
        raise Prepared(tf32)

    monkeypatch.setattr("person_reid.training.fit.choose_backends", prepare)
    with pytest.raises(Prepared) as told:
        reid.fit(created(dataset), dataset, reid.FitOptions(no_tf32=no_tf32), device="cpu")
    assert told.value.args == (not no_tf32,)


def pictures(values, identities=(0, 1)):
    return [(values, identity, 1) for identity in identities]


def test_junk_is_left_out_as_train_py_does(tmp_path):
    write_people(tmp_path / "train_all", people=2, images=2)
    for name in ("query", "gallery"):
        write_people(tmp_path / name, people=2, images=1)
    people = reid.read_dataset(tmp_path).train.classes
    junk = tmp_path / "train_all" / "-1"
    junk.mkdir()
    Image.new("RGB", (8, 16)).save(junk / "-1_c1_000000.jpg")
    assert reid.read_dataset(tmp_path).train.classes == people


@pytest.mark.parametrize("junk", [-1, "-1"])
def test_junk_in_a_torch_dataset_is_refused(junk):
    with pytest.raises(reid.UserError, match=f"identity {junk} marks junk"):
        decode_items(pictures(torch.zeros(3, 8, 4), (junk, type(junk)(2))), (8, 4))


@pytest.mark.parametrize(
    "values", [torch.full((3, 8, 4), -0.5), torch.full((3, 8, 4), 200.0)], ids=["below", "above"]
)
def test_normalised_pictures_are_refused(values):
    with pytest.raises(reid.UserError, match="expected 0 to 1. Leave the normalisation out"):
        decode_items(pictures(values), (8, 4))


def test_pictures_from_0_to_1_keep_their_values():
    shades = torch.linspace(0, 1, 32).reshape(1, 8, 4).expand(3, 8, 4)
    _, bank = decode_items(pictures(shades), (8, 4))
    assert torch.equal(bank[0].movedim(2, 0), (shades * 255).round().byte())
