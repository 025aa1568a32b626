"""Every example of docs/extending.md runs, as the plugin of a script or in this process."""

import logging
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate
import model
import person_reid as reid
import prepare
import test as testing
import train
from benchmarks.support.people import draw_people
from person_reid.config import TrainConfig
from person_reid.config.detector import DETECTOR_NAMES, DetectorOptions
from person_reid.config.evaluate import DISTANCE_NAMES
from person_reid.config.look import OWN_FIGURES
from person_reid.config.prepare import DATA_SET_NAMES, TRACK_FORMAT_NAMES
from person_reid.config.run import WRITER_NAMES
from person_reid.config.train import AUGMENTATION_NAMES, SAMPLER_NAMES, SCHEDULE_NAMES
from person_reid.console import parse
from person_reid.console.named_network import network_named
from person_reid.data.datasets import DATA_SETS
from person_reid.data.images.augment import AUGMENTATIONS, Augment
from person_reid.data.samplers import SAMPLERS
from person_reid.data.video.track_files import TRACK_FORMATS, read_boxes
from person_reid.errors import UserError
from person_reid.gallery.gallery import GALLERIES, open_gallery
from person_reid.losses.base import REGISTRY
from person_reid.models.architecture import REGISTERED
from person_reid.models.factory import ARCHITECTURES
from person_reid.registration import PLUGINS, Registry, check_loaded, load_installed, load_plugin
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import DISTANCES
from person_reid.run_folder import RunFolder
from person_reid.training.schedule import SCHEDULES
from person_reid.training.writers import OWN_WRITERS
from person_reid.video.detectors import DETECTORS, open_detector
from tests.support import ROOT
from tools import figures, report
from tools.ablation import read_table

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
REGISTRIES: list[Registry] = [
    ARCHITECTURES, AUGMENTATIONS, DATA_SETS, DETECTORS, DISTANCES, GALLERIES, OWN_FIGURES,
    OWN_WRITERS, REGISTRY, SAMPLERS, SCHEDULES, TRACK_FORMATS,
]  # fmt: skip
NAMES = [
    AUGMENTATION_NAMES, DATA_SET_NAMES, DETECTOR_NAMES, DISTANCE_NAMES, SAMPLER_NAMES,
    SCHEDULE_NAMES, TRACK_FORMAT_NAMES, WRITER_NAMES, REGISTERED,
]  # fmt: skip
SMALL = ["--batchsize", "12", "--total", "2", "--gpu_ids", "-1", "--weights", "none"]


def examples(title):
    """Return the Python code of a section."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{title}\n"))
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """Parts that a test registers and loads are forgotten after it."""
    before = [dict(registry) for registry in REGISTRIES], [[*names] for names in NAMES]
    loaded, path = set(sys.modules), [*sys.path]
    yield
    for registry, entries in zip(REGISTRIES, before[0], strict=True):
        registry.clear()
        registry.update(entries)
    for names, old in zip(NAMES, before[1], strict=True):
        names[:] = old
    for name in set(sys.modules) - loaded:
        if name.startswith("my_"):
            del sys.modules[name]
    PLUGINS.clear()
    sys.path[:] = path


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write the example of a section into a file in the working folder, and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(title):
        name = f"my_{title.split()[-1]}.py"
        (tmp_path / name).write_text(examples(title)[0], encoding="utf-8")
        return name

    return write


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Six small synthetic people, 36 images."""
    return draw_people(tmp_path_factory.mktemp("people"), 6, cameras=3)


def forget(*names):
    """Let the process be one that has not loaded these plugins."""
    for name in names:
        sys.modules.pop(name.removesuffix(".py"), None)
        PLUGINS.pop(name.removesuffix(".py"), None)
    for registry in REGISTRIES:
        for name in ("small", "soft_margin", "halving", "sorted", "fog", "mlflow"):
            registry.pop(name, None)
            if registry.names and name in registry.names:
                registry.names.remove(name)


def test_a_run_of_ones_own_parts_is_trained_resumed_and_tested(
    plugin, people, capsys, caplog, monkeypatch
):
    """All parts of a training at once, by the scripts, and refused where nobody names the code."""
    tracked: list[dict[str, float]] = []
    mlflow = SimpleNamespace(
        start_run=lambda run_name: nullcontext(),
        log_params=lambda params: None,
        log_metrics=lambda record, step: tracked.append(record),
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    parts = [f"A {kind}" for kind in ("backbone", "loss", "schedule", "sampler", "metric writer")]
    files = [plugin(part) for part in [*parts, "An augmentation"]]
    named = ["--plugin", ",".join(files)]
    words = ["--data_dir", str(people), "--name", "own", "--backbone", "small", *SMALL]
    words += ["--loss", "soft_margin:0.5:scale=4", "--schedule", "halving", "--sampler", "sorted"]
    train.main([*words, "--writers", "mlflow", "--augment", "fog:0.5", *named])
    assert [record["epoch"] for record in tracked] == [1, 2]

    assert f"--name own --test_dir {people} --plugin {named[1]}" in caplog.text

    forget(*files)
    for open_run in (
        lambda *more: train.main(["--name", "own", "--resume", *more]),
        lambda *more: testing.main(
            ["--name", "own", "--gpu_ids", "-1", "--test_dir", str(people), *more]
        ),
    ):
        with pytest.raises(UserError, match=r"needs code of its own.* --plugin .*my_backbone\.py"):
            open_run()
        open_run(*named)
        forget(*files)
    assert "Rank@1" in capsys.readouterr().out
    options = RunFolder("own").path.joinpath("opts.yaml").read_text()
    assert f"plugin: {named[1]}\n" in options
    assert "my_loss.py: /" in options.replace("'", "")


def test_a_run_is_tested_without_the_plugin_of_its_training_alone(plugin, people, capsys):
    files = [plugin(part) for part in ("A loss", "A schedule", "An augmentation")]
    words = ["--data_dir", str(people), "--name", "beside", "--backbone", "test_resnet", *SMALL]
    words += ["--height", "64", "--width", "32", "--loss", "soft_margin", "--augment", "fog:0.5"]
    train.main([*words, "--schedule", "halving", "--plugin", ",".join(files)])
    forget(*files)
    testing.main(["--name", "beside", "--gpu_ids", "-1", "--test_dir", str(people)])
    assert "Rank@1" in capsys.readouterr().out
    assert reid.Embedder("beside", device="cpu").size == (64, 32)
    with pytest.raises(UserError, match="needs code of its own.* --plugin"):
        report.main(["--name", "beside"])
    with pytest.raises(UserError, match=r"needs .* load_plugin\('.*my_loss.py'\); load_plugin\('"):
        train.main(["--name", "beside", "--resume"])


def test_what_is_registered_is_in_the_help(plugin, capsys):
    for title in ("A schedule", "A sampler", "An augmentation"):
        load_plugin(plugin(title))
    with pytest.raises(SystemExit):
        parse(TrainConfig, ["--help", "all"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("one_cycle,halving", "pk_camera,sorted", "such as fog:0.5: fog"):
        assert words in said


def test_a_class_of_a_file_is_a_backbone_without_registration(plugin, people, capsys):
    name = plugin("A backbone").removesuffix(".py")
    size = ["--height", "64", "--width", "32"]
    words = ["--data_dir", str(people), "--backbone", f"{name}:Small", *size, *SMALL]
    train.main(words)
    forget(name)
    test = ["--name", f"ft_{name}-Small", "--gpu_ids", "-1", "--test_dir", str(people)]
    with pytest.raises(UserError, match=f"--plugin {name}"):
        testing.main(test)
    testing.main([*test, "--plugin", name])


def test_networks_of_ones_own_are_listed_and_described(plugin, capsys):
    file = plugin("A backbone")
    model.main(["--plugin", file])
    assert capsys.readouterr().out.splitlines()[-1] == "small"
    model.main(["small", "--plugin", file])
    assert "small" in capsys.readouterr().out
    assert reid.list_models("small") == ["small"]


def test_a_mistake_of_ones_own_part_names_the_part(plugin):
    vectors = Path(plugin("A loss"))
    vectors.write_text(vectors.read_text(encoding="utf-8").replace(".mean()", ".mean(1)"))
    load_plugin(str(vectors))
    loss = reid.create_loss("soft_margin")
    with pytest.raises(UserError, match=r"SoftMargin\.compute returned a loss of shape \(4,\)"):
        loss(torch.rand(4, 8), torch.tensor([0, 0, 1, 1]))
    grey = torch.nn.Conv2d(1, 8, 3)
    with pytest.raises(UserError, match=r"^Conv2d: a layer does not fit .* to have 1 channels"):
        reid.create_model(grey, size=(64, 32))


def test_a_module_is_a_backbone_in_python(plugin):
    load_plugin(plugin("A backbone"))
    small = sys.modules["my_backbone"].Small()
    network = reid.create_model(small, num_classes=3, size=(64, 32), pool="gem")
    features, logits = network(torch.zeros(2, 3, 64, 32))
    assert features.shape == (2, 512)
    assert logits.shape == (2, 3)
    assert network.architecture.dim == 64
    vector = torch.nn.Sequential(small, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    assert reid.create_model(vector, size=(64, 32)).dim == 64
    with pytest.raises(UserError, match=r"expected a feature map .* found \(128,\)"):
        reid.create_model(vector.append(torch.nn.Flatten(0)), size=(64, 32))


def test_a_loss_is_created_by_its_name(plugin):
    load_plugin(plugin("A loss"))
    features, labels = torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 1])
    found = reid.create_loss("soft_margin", scale=2.0)(features, labels)
    pairs = torch.tensor([5 * [-2.0], 4 * [0.0] + [-2.0]]).flatten()[:9]
    assert found == pytest.approx(float(torch.nn.functional.softplus(pairs).mean()), rel=0.3)


def test_an_augmentation_changes_its_share_of_the_images(plugin):
    load_plugin(plugin("An augmentation"))
    bank, indices = torch.zeros(64, 8, 4, 3, dtype=torch.uint8), torch.arange(64)
    augment = Augment(8, 4, padding=0, augment="fog:0.25")
    images = augment(bank, indices, torch.Generator().manual_seed(0))
    assert 5 <= len({*images.flatten(1).sum(1).tolist()}) - 1 <= 27
    with pytest.raises(UserError, match="haze: no such augmentation. There are: fog"):
        Augment(8, 4, augment="haze:1")


def test_a_distance_of_ones_own_ranks_the_gallery(plugin, capsys):
    random = np.random.default_rng(0)
    query, gallery = (
        FeatureSet(random.normal(size=(8, 5)).astype(np.float32), np.arange(8) % 4, camera)
        for camera in (np.zeros(8, int), np.ones(8, int))
    )
    reid.save_result("own.mat", query, gallery)
    words = ["--result", "own.mat", "--plugin", plugin("A distance")]
    evaluate.main([*words, "--distance", "city_block"])
    apart = np.abs(query.features[:, None] - gallery.features).sum(axis=2)
    expected = reid.evaluate(query, gallery, distances=apart)
    said = capsys.readouterr().out
    assert f"mAP:{expected.mAP:.6f}" in said
    assert "distance city_block" in said
    reid.register_distance("flat", lambda queries, gallery: queries[:, 0])
    with pytest.raises(UserError, match=r"The distance gives \(4,\); expected .* \(4, 8\)"):
        evaluate.main([*words, "--distance", "flat"])


def test_a_data_set_of_ones_own_is_laid_out(plugin, tmp_path):
    for person in range(6):
        folder = tmp_path / "download" / "people" / f"p{person}"
        folder.mkdir(parents=True)
        for camera in (1, 2):
            Image.new("RGB", (32, 64), (person * 40, camera * 90, 0)).save(
                folder / f"{camera}_0.jpg"
            )
    file = plugin("A data set")
    prepare.main(["--plugin", file, "--dataset", "corridor", "--data_dir", "download"])
    made = {path.parent.name for path in (tmp_path / "download/pytorch").glob("query/*/*.jpg")}
    assert made == {"0001", "0006"} or made == {"1", "6"}


def test_a_track_format_of_ones_own_is_read(plugin, tmp_path):
    load_plugin(plugin("A track format"))
    (tmp_path / "tracks.txt").write_text("7,3,11,21,30,60,0.9\n")
    form, (box,) = read_boxes(tmp_path / "tracks.txt", "noted")
    assert form is TRACK_FORMATS["noted"]
    assert (box.track, box.frame, box.sides) == (7, 3, (10, 20, 40, 80))


def test_a_detector_of_ones_own_is_opened_by_its_name(plugin):
    load_plugin(plugin("A detector"))
    detector = open_detector(DetectorOptions(detector="bright"), torch.device("cpu"))
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[10:30, 20:28] = 255
    assert detector(frame)[0].tolist() == [[20, 10, 28, 30]]


def test_a_picture_of_ones_own_is_a_command(plugin, tmp_path, capsys):
    features = FeatureSet(np.eye(4, dtype=np.float32), np.arange(4), np.zeros(4, int))
    reid.save_result("own.mat", features, features)
    file = plugin("A picture")
    reid.save_result("own.mat", features, features)
    figures.main(["lengths", "--plugin", file, "--result", "own.mat", "--save", "lengths.png"])
    assert (tmp_path / "lengths.png").exists()
    assert "lengths.png" in capsys.readouterr().out


def test_a_gallery_of_ones_own_is_the_one_that_keeps_the_contract(plugin):
    """tests/gallery/test_contract.py holds the same class to the contract of all galleries."""
    load_plugin(plugin("A gallery engine"))
    (example,) = examples("A gallery engine")
    tested = (ROOT / "tests" / "support" / "dictionary_gallery.py").read_text(encoding="utf-8")
    assert tested.partition("class ")[2].strip() in example
    assert type(open_gallery("memory://people")).__name__ == "DictionaryGallery"


@pytest.mark.parametrize("number", [0, 1])
def test_a_loop_of_ones_own_runs(number):
    exec(examples("Your own loop")[number], {})


def test_a_name_is_given_once_and_can_be_a_flag(plugin):
    load_plugin(plugin("A schedule"))
    with pytest.raises(UserError, match="There is a schedule 'cosine' already"):
        reid.register_schedule("cosine", lambda update, options: 1.0)
    for name in ("", "two words", "a,b", "a:b", "--c"):
        with pytest.raises(UserError, match="expected a name"):
            reid.register_loss(name, reid.FeatureLoss, "none")


def test_plugins_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my_absent.py", "my_absent", "my.absent"):
        with pytest.raises(UserError, match=f"plugin={name}: no such file, and no module"):
            load_plugin(name)
    (tmp_path / "json.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match="Python has another module json"):
        load_plugin("json.py")
    (tmp_path / "my_broken.py").write_text("1 / 0")
    for _ in range(2):  # and it is not taken for loaded
        with pytest.raises(ZeroDivisionError):
            load_plugin("my_broken.py")


def test_a_file_never_causes_code_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_code.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "options.yaml").write_text("plugin: my_code.py\n")
    with pytest.raises(UserError, match="if you trust it, add --plugin my_code.py"):
        parse(TrainConfig, ["--config", "options.yaml"])
    with pytest.raises(UserError, match="plugin would be ignored"):
        network_named("RUN --plugin my_code.py", "teacher")  # which a file may say
    for words in ("--plugin my_code.py", "--plugin=my_code", "--backbone my_code:Net"):
        (tmp_path / "table.yaml").write_text(f"rows:\n  one: {words}\n")
        with pytest.raises(UserError, match="a table names no code"):
            read_table(tmp_path / "table.yaml")
    for files in (None, [1], {"my_code.py": 7}):
        with pytest.raises(UserError, match="needs code of its own"):
            check_loaded(["my_code.py"], "opts.yaml", files)
    for name in ("os:abort", "my_code:Net", "json:JSONEncoder"):
        with pytest.raises(UserError, match=f"The backbone {name}: needs code of its own"):
            reid.create_model(name)
    with pytest.raises(UserError, match="The command line: needs .* add --plugin my_code.py"):
        parse(TrainConfig, ["--plug", "my_code.py"])


def test_only_a_network_of_a_plugin_is_a_backbone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tools.py").write_text("def end():\n    raise SystemExit\n")
    load_plugin("my_tools")
    for name in ("my_tools:end", "my_tools:Absent"):
        with pytest.raises(UserError, match="my_tools has no network"):
            reid.create_model(name)


def test_an_installed_package_registers_by_an_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "my_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[person_reid.plugins]\nparts = my_parts\n")
    (tmp_path / "my_parts.py").write_text(examples("A schedule")[0])
    monkeypatch.syspath_prepend(tmp_path)
    load_installed.cache_clear()
    load_installed()
    assert SCHEDULE_NAMES[-1] == "halving"


def test_a_broken_plugin_of_a_package_is_left_out_and_named(tmp_path, monkeypatch, caplog):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[person_reid.plugins]\nparts = broken_parts\n")
    (tmp_path / "broken_parts.py").write_text("import absent_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_installed.cache_clear()
    load_installed()
    assert "the plugin broken_parts is left out: No module named 'absent_library'" in caplog.text


def test_any_torch_data_set_and_loader_is_trained_on(caplog):
    class Items(torch.utils.data.Dataset):
        def __init__(self, image, people):
            self.image, self.people = image, people

        def __len__(self):
            return 8

        def __getitem__(self, index):
            return self.image, self.people[index % 2], 0

    network = reid.create_model("osnet_x0_25", num_classes=2, size=(64, 32))
    options = reid.FitOptions(total_epoch=1, batchsize=4)
    grey = np.full((80, 40, 3), 99, np.uint8)
    for image in (Image.fromarray(grey), grey, torch.from_numpy(grey).movedim(2, 0)):
        with caplog.at_level(logging.ERROR):
            (epoch,) = reid.fit(network, Items(image, ["Anna", "Ben"]), options, "cpu")
        assert epoch["loss"] > 0
    with pytest.raises(UserError, match="2 classes, and the data set 1 identities"):
        reid.fit(network, Items(grey, [0, 0]), options, "cpu")
    options = reid.FitOptions(total_epoch=1)  # a DataLoader has its own batches
    loader = torch.utils.data.DataLoader(Items(torch.zeros(3, 64, 32), [0, 2]), 4)
    with pytest.raises(UserError, match="identities from 0 to 2, and the network has 2 classes"):
        reid.fit(network, loader, options, "cpu")
    loader = torch.utils.data.DataLoader(Items(torch.zeros(64, 32, 3), [0, 1]), 4)
    with pytest.raises(UserError, match=r"expected normalised"):
        reid.fit(network, loader, options, "cpu")
