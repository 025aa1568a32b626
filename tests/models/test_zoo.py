"""The published networks: what the table says of them, and that their files are taken by name."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import model
import test as test_script
from benchmarks.support.people import draw_people
from person_reid import Embedder, UserError
from person_reid.config import TrainConfig
from person_reid.config.network import NetworkOptions
from person_reid.config.option import configured
from person_reid.config.tested import TestConfig
from person_reid.config.zoo import FAMILIES_OF_ZOO, PACKAGED_NETWORK, folder, listing, zoo
from person_reid.console import parse
from person_reid.deploy.find import tested_network
from person_reid.deploy.load import load_network, network_of_name
from person_reid.models.architecture import list_models
from person_reid.models.factory import check_network, create_model, input_size
from person_reid.models.published.hub import on_disk
from person_reid.models.weights import load_weights
from tools import compare_networks
from tools.docs.networks import PUBLISHED_MARKS, PUBLISHED_PAGE, published_tables

NOT_HERE = "architecture not here yet"
# Networks of the table that no backbone can build yet, by family.
MISSING = {"KPR": 10}
AVAILABLE = {name: entry for name, entry in zoo().items() if not entry.note}


def test_every_family_has_networks_and_every_network_a_family():
    assert {entry.family for entry in zoo().values()} == {*FAMILIES_OF_ZOO}


def test_networks_without_an_architecture_are_counted():
    notes = Counter(entry.family for entry in zoo().values() if entry.note)
    assert notes == MISSING
    assert {entry.note for entry in zoo().values()} == {"", NOT_HERE}


def test_the_options_of_a_published_network_describe_one_for_images_of_its_size():
    checked: list[NetworkOptions] = []
    for name, entry in AVAILABLE.items():
        described = configured(NetworkOptions, entry.options)
        if described not in checked:
            check_network(described)
            checked.append(described)
        assert input_size(described) == entry.size, name


def test_what_a_row_says_has_its_form():
    for name, entry in zoo().items():
        assert re.fullmatch("[a-z0-9_]+", name)
        assert entry.seen
        assert entry.where.startswith("https://"), name
        assert (entry.hub == "") or entry.file, name
        assert all(re.fullmatch("([0-9a-f]{32}){2,3}", s) for s in entry.checksum.split()), name
        assert all(0 < mean_ap < rank1 < 100 for rank1, mean_ap in entry.figures.values()), name


def test_file_names_in_the_folder_of_weights_belong_to_one_network_each():
    names = [name for entry in zoo().values() for name in entry.file_names]
    assert len(names) == len(set(names))
    duke = ["resnet50_duke.pth.tar", "resnet50_duke_xent.pth.tar"]
    assert zoo()["resnet50_duke"].file_names == duke


def test_the_list_names_every_published_network_once(capsys):
    model.main(["--published"])
    printed = capsys.readouterr().out
    published = [line.split()[0] for line in printed.splitlines() if "×" in line]
    assert published == list_models(pretrained=True)
    assert list_models("osnet_ain*msmt17", pretrained=True) == ["osnet_ain_x1_0_msmt17"]
    assert listing("intel_0288").count("×") == 1
    with pytest.raises(UserError, match="published=nothing: no published network"):
        listing("nothing")


def test_the_page_holds_the_tables():
    begin, end = PUBLISHED_MARKS
    expected = f"{begin}\n\n{published_tables()}\n{end}\n"
    again = "python tools/docs/networks.py writes it again"
    assert expected in PUBLISHED_PAGE.read_text("utf-8"), again


NAME = "osnet_x0_25_duke"  # a small network whose file has no known checksum and is not on the hub
ON_HUB = "osnet_x0_5_msmt17"  # a network whose file is on the hub, and has no known checksum


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty folder of weights and an empty cache of the hub, without a connection."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder().mkdir(parents=True)
    return tmp_path


def trained(backbone, num_classes=0):
    torch.manual_seed(3)
    return create_model(backbone, num_classes).eval()


def on_the_hub(cache, name, state_dict):
    """Lay out the hub's cache by hand, as its client does."""
    entry = zoo()[name]
    repository = cache / "hub" / f"models--{entry.hub.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    file = repository / "snapshots" / ("1" * 40) / entry.file
    file.parent.mkdir(parents=True)
    torch.save(state_dict, file)


def test_the_folder_of_weights_is_that_of_pytorch(offline, monkeypatch):
    assert folder() == type(folder())(torch.hub.get_dir(), "checkpoints")
    monkeypatch.delenv("TORCH_HOME")
    assert folder() == type(folder())(torch.hub.get_dir(), "checkpoints")


@pytest.mark.parametrize("name", [NAME, ON_HUB, "intel_0288"])
def test_a_network_that_is_nowhere_names_its_file_and_the_place_in_one_line(name, offline, people):
    with pytest.raises(UserError) as raised:
        test_script.main(["--weights", name, "--test_dir", str(people), "--gpu_ids", "-1"])
    message, entry = str(raised.value), zoo()[name]
    assert "\n" not in message
    assert entry.where in message
    assert (".bin" in message) == (name == "intel_0288")
    assert str(folder() / entry.file_names[0]) in message
    assert (entry.file in message and "the hub cannot be reached" in message) or not entry.hub


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp("people"), 2, 2, 2, 2)


def test_a_network_on_the_hub_is_taken_from_its_cache(offline):
    network = trained("osnet_x0_5")
    on_the_hub(offline, ON_HUB, network.model.state_dict())
    images = torch.randn(2, 3, 256, 128)
    found = create_model("osnet_x0_5", pretrained="msmt17").eval()
    torch.testing.assert_close(found(images), network(images))
    assert on_disk() == [ON_HUB, PACKAGED_NETWORK]


def test_the_imagenet_weights_of_osnet_are_taken_from_the_hub(offline):
    with pytest.raises(UserError, match=r"osnet_x1_0_imagenet: .* and the hub cannot be reached"):
        create_model("osnet_x1_0", pretrained=True)
    network = trained("osnet_x1_0")
    on_the_hub(offline, "osnet_x1_0_imagenet", network.model.state_dict())
    found = create_model("osnet_x1_0", pretrained=True)
    assert torch.equal(found.model.conv1.conv.weight, network.model.conv1.conv.weight)


FORMS = {
    "as it is": lambda state: state,
    "DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "a training state": lambda state: {"state_dict": state, "epoch": 3, "rank1": np.float64(0.9)},
    "an average inside": lambda state: {
        "student": {name: value + 1 for name, value in state.items()},
        "teacher": {f"module.{name}": value for name, value in state.items()},
    },
    "with a classifier": lambda state: {**state, "classifier.weight": torch.ones(4101, 512)},
    "half precision": lambda state: {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    },
}


def test_a_published_file_is_loaded_in_every_form(offline):
    network, images = trained("osnet_x0_25"), torch.randn(2, 3, 64, 32)
    expected = network(images)
    for form, save in FORMS.items():
        torch.save(save(network.model.state_dict()), folder() / zoo()[NAME].file)
        found = load_network(network_of_name(NAME).resized((64, 32))).eval()
        difference = (found(images) - expected).abs().max() / expected.abs().max()
        assert difference < (2e-3 if form == "half precision" else 1e-6), form


def test_a_published_network_is_tested_without_mirroring_if_its_authors_did_so(offline):
    torch.save(trained("osnet_x0_25").model.state_dict(), folder() / zoo()[NAME].file)
    images = [np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)]
    features = {
        flip: Embedder(NAME, device="cpu", flip=flip)(images) for flip in (None, False, True)
    }
    assert np.array_equal(features[None], features[False])
    assert not np.allclose(features[None], features[True])


def test_a_safetensors_file_is_taken_by_the_name_of_the_network(offline):
    name = "osnet_x1_0_soccernet"
    state = trained("osnet_x1_0").model.state_dict()
    save_file(state, folder() / f"{name}.safetensors")
    assert create_model("osnet_x1_0", weights=name).dim == 512
    assert on_disk() == [PACKAGED_NETWORK, name]

    # Roboflow's program writes it into a folder.
    save_file(state, offline / "weights.safetensors")
    assert load_weights(trained("osnet_x1_0"), offline).missing == []


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("osnet_x0_5", r"osnet_x0_25_duke\.pth: the weights of another network .* another shape"),
        ("resnet18", r"osnet_x0_25_duke\.pth: the weights of another network .* left as init"),
    ],
)
def test_a_file_of_another_width_or_family_is_refused_in_one_line(backbone, message, offline):
    torch.save(trained(backbone).model.state_dict(), folder() / f"{NAME}.pth")
    with pytest.raises(UserError, match=message) as raised:
        Embedder(NAME, device="cpu")
    assert "\n" not in str(raised.value)


def test_a_file_of_another_checksum_is_refused(offline):
    torch.save(trained("osnet_x1_0").model.state_dict(), folder() / "osnet_x1_0_msmt17.pth")
    with pytest.raises(UserError, match=r"SHA-256 begins with \w{8}, expected 48df972f.*weights="):
        create_model("osnet_x1_0", pretrained="msmt17")


def test_a_name_decides_what_flags_leave_open():
    named = parse(TestConfig, ["--weights", "baseline_pcb_market1501"])
    assert (named.backbone, vars(named)["PCB"], named.height) == ("resnet50", True, 384)
    assert not named.no_flip
    named = parse(TestConfig, ["--weights", "bot_resnet50_duke", "--stride", "2"])
    assert named.not_default(["backbone", "neck", "stride"]) == {
        "backbone": "resnet50",
        "neck": "bnneck",
        "stride": 2,
    }
    assert named.no_flip
    trains = parse(TrainConfig, ["--weights", NAME])
    assert (trains.backbone, trains.weights) == ("osnet_x0_25", NAME)
    assert trains.name == "ft_osnet_x0_25"


def test_a_network_whose_layers_are_missing_and_a_misspelt_one_are_refused():
    missing = next(name for name, entry in zoo().items() if entry.note)
    with pytest.raises(UserError, match=f"{missing}: {NOT_HERE}"):
        parse(TestConfig, ["--weights", missing])
    with pytest.raises(UserError, match="name its network: backbone.*mean 'osnet_x0_25_duke'"):
        tested_network(parse(TestConfig, ["--weights", "osnet_x0_25_dukes"]))
    with pytest.raises(UserError, match=r"net\.onnx: an exported network.*--engine net\.onnx"):
        tested_network(parse(TestConfig, ["--weights", "net.onnx"]))
    with pytest.raises(FileNotFoundError, match="no such weight file. Did you mean 'osnet_x0_25_d"):
        create_model("osnet_x0_25", weights="osnet_x0_25_dukes")
    with pytest.raises(UserError, match="no published network 'osnet_x1_0_msmt'"):
        create_model("osnet_x1_0", pretrained="msmt")


def test_all_published_networks_on_the_machine_are_compared(offline, people, capsys):
    words = ["--networks", "published", "--test_dirs", str(people), "--gpu_ids", "-1"]
    torch.save(trained("osnet_x0_25").model.state_dict(), folder() / f"{NAME}.pth")
    compare_networks.main(words)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert sorted(row.split(" | ")[0] for row in rows[2:]) == [f"| {PACKAGED_NETWORK}", f"| {NAME}"]
