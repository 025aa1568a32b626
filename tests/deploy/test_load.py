"""A run holds the network of its weight file with the flags that it was trained with."""

from dataclasses import asdict

import pytest
import torch

from person_reid import Embedder, NetworkToTest
from person_reid.config.network import NetworkOptions
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.find import open_embedder, run_to_test, tested_network
from person_reid.deploy.load import load_network
from person_reid.errors import UserError
from person_reid.models.factory import build_network
from person_reid.run_folder import RunFolder
from tests.support.small_training import trained_as

pytestmark = pytest.mark.usefixtures("here")
SMALL = ["--height", "64", "--width", "32"]
IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def save_run(*flags, classes=5, backbone="test_resnet"):
    """A run of an untrained network as train.py leaves it.

    Its batch norms have seen some images.
    """
    options = trained_as(
        "--backbone", backbone, "--weights", "none", "--name", "run", *SMALL, *flags
    )
    RunFolder("run").save_options({**asdict(options), "nclasses": classes})
    torch.manual_seed(7)
    network = build_network(options, classes, "none").train()
    network(torch.randn(8, 3, 64, 32))
    RunFolder("run").save_weights("last", network.state_dict())


def network_of(*words):
    return load_network(tested_network(parse(TestConfig, [*words]))).eval()


def file_words(*flags, backbone="test_resnet"):
    return ["--backbone", backbone, "--weights", "model/run/net_last.pth", *SMALL, *flags]


@pytest.mark.parametrize(
    "flags",
    [
        ["--PCB"],
        ["--PCB", "--pool", "gem"],
        ["--linear_num", "16"],
        ["--linear_num", "0"],
        ["--neck", "linear"],
        ["--neck", "bnneck", "--pool", "gemp", "--stride", "1"],
        ["--neck", "none", "--head", "arcface"],
        ["--head", "cosine", "--attention", "se:layer2"],
        ["--attention", "usam:layer2", "--linear_num", "8"],
    ],
    ids=" ".join,
)
def test_the_features_are_those_of_the_run(flags):
    save_run(*flags)
    with torch.inference_mode():
        expected = network_of("--name", "run").embed(IMAGES)
        found = network_of(*file_words(*flags)).embed(IMAGES)
    assert torch.equal(found, expected)


def test_without_flags_of_a_head_the_feature_is_the_backbones():
    save_run("--neck", "bnneck")
    bare, run = network_of(*file_words()), network_of("--name", "run")
    with torch.inference_mode():
        assert torch.equal(bare.embed(IMAGES), run.pooled(IMAGES))


@pytest.mark.parametrize(
    ("trained", "flags"),
    [
        (["--linear_num", "16"], ["--linear_num", "8"]),
        (["--neck", "none"], ["--neck", "bnneck"]),
        ([], ["--attention", "se:layer2"]),
        ([], ["--attention", "usam:layer2"]),
    ],
    ids=str,
)
def test_layers_that_the_file_does_not_have_are_refused(trained, flags):
    save_run(*trained)
    with pytest.raises(UserError, match=r"net_last\.pth: the weights of another network"):
        network_of(*file_words(*flags))


def test_a_backbones_file_has_no_neck():
    torch.save(
        network_of("--backbone", "resnet18", "--weights", "none").model.state_dict(), "backbone.pth"
    )
    words = ["--backbone", "resnet18", "--weights", "backbone.pth"]
    assert network_of(*words).dim == 512
    assert network_of(*words, "--PCB").dim == 6 * 512
    for flags in (["--linear_num", "8"], ["--usam"]):
        with pytest.raises(UserError, match=r"backbone\.pth: the weights of another network"):
            network_of(*words, *flags)


def test_a_backbones_file_that_lacks_a_layer_is_refused():
    """Its features would be those of random weights."""
    state = network_of("--backbone", "resnet18", "--weights", "none").model.state_dict()
    torch.save(
        {name: value for name, value in state.items() if not name.startswith("conv1.")},
        "backbone.pth",
    )
    with pytest.raises(
        UserError, match=r"backbone\.pth: .* 1 \((model\.)?conv1\.weight\) left as initialised"
    ):
        network_of("--backbone", "resnet18", "--weights", "backbone.pth")
    with pytest.raises(UserError, match=r"conv1\.weight"):
        Embedder("resnet18", "backbone.pth", "cpu")


def test_what_is_no_exported_file_is_refused():
    with pytest.raises(UserError, match=r"README\.md: expected a file that ends in \.onnx"):
        open_embedder(parse(TestConfig, ["--engine", "README.md"]))


def test_the_images_have_the_size_of_the_network():
    words = ["--backbone", "resnet18", "--weights", "none"]
    for flags, size in ((["--PCB"], (384, 192)), ([], (256, 128)), (["--PCB", *SMALL], (64, 32))):
        assert tested_network(parse(TestConfig, [*words, *flags])).size == size


@pytest.mark.parametrize("flags", [["--weights", "net.pth"], ["--seed", "1"]], ids=" ".join)
def test_flags_of_a_weight_file_are_refused_for_a_run(flags):
    with pytest.raises(
        UserError, match=f"{flags[0][2:]} would be ignored: model/run/opts.yaml.*backbone=NAME"
    ):
        network_of("--name", "run", *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ["--PCB"],
        ["--usam"],
        ["--pool", "gem"],
        ["--neck", "linear"],
        ["--attention", "se:layer2"],
        ["--head", "linear"],
        ["--stride", "2"],
        ["--weights", "net.pth"],
        ["--seed", "1"],
        ["--use_dense"],
        ["--ibn"],
    ],
    ids=" ".join,
)
def test_what_describes_a_network_is_refused_for_an_exported_file(flags):
    with pytest.raises(UserError, match=f"{flags[0][2:]} was decided when the file was written"):
        open_embedder(parse(TestConfig, ["--engine", "net.onnx", *flags]))


def run_options(*words):
    return run_to_test(parse(TestConfig, ["--name", "run", *words]))


@pytest.mark.parametrize(
    ("trained", "flags"),
    [
        (["--PCB"], ["--PCB"]),
        (["--PCB"], ["--PCB", "--linear_num", "512"]),
        (["--use_dense"], ["--use_dense"]),
        (["--backbone", "densenet121"], ["--use_dense"]),
        (["--use_efficient"], ["--use_efficient"]),
        (["--use_hr"], ["--use_hr"]),
        (["--ibn", "--usam"], ["--ibn", "--usam"]),
        (["--linear_num", "0", "--stride", "1"], ["--linear_num", "0", "--stride", "1"]),
        (["--neck", "bnneck", "--pool", "gem"], ["--neck", "bnneck", "--pool", "gem"]),
    ],
    ids=str,
)
def test_a_run_may_be_tested_with_the_flags_that_describe_it(trained, flags):
    RunFolder("run").save_options(asdict(trained_as(*trained)))
    assert run_options(*flags) == run_options()


@pytest.mark.parametrize(
    ("trained", "flags", "message"),
    [
        (
            ["--use_dense"],
            ["--use_hr"],
            r"use_hr contradicts model.run.opts\.yaml \(backbone: densenet121\).*name",
        ),
        ([], ["--ibn"], r"ibn contradicts model.run.opts\.yaml \(backbone: resnet50\)"),
        (["--ibn"], ["--PCB"], r"PCB contradicts model.run.opts\.yaml \(PCB: False\)"),
        (
            ["--PCB"],
            ["--PCB", "--usam"],
            r"usam contradicts model.run.opts\.yaml \(usam: False\)",
        ),
        (
            ["--linear_num", "16"],
            ["--linear_num", "8"],
            r"linear_num=8 contradicts .* \(linear_num: 16\)",
        ),
        ([], ["--linear_num", "0"], r"linear_num=0 contradicts .* \(linear_num: 512\)"),
        ([], ["--stride", "1"], r"stride=1 contradicts .* \(stride: 2\)"),
        ([], ["--pool", "gem"], r"pool=gem contradicts .* \(pool: None\)"),
    ],
    ids=str,
)
def test_flags_that_contradict_a_run_are_refused(trained, flags, message):
    RunFolder("run").save_options(asdict(trained_as(*trained)))
    with pytest.raises(UserError, match=message):
        run_options(*flags)


def test_flags_say_what_an_old_options_file_does_not():
    file = RunFolder("run").options_file
    file.parent.mkdir(parents=True)
    file.write_text("PCB: false\nuse_dense: false\nuse_NAS: false\nstride: 2\n")
    assert run_options("--ibn", "--usam", "--linear_num", "0").backbone == "resnet50_ibn_a"
    assert run_options("--ibn", "--usam", "--linear_num", "0").linear_num == 0
    for flags in (["--PCB"], ["--use_dense"]):
        with pytest.raises(UserError, match=f"{flags[0][2:]} contradicts"):
            run_options(*flags)
    file.write_text("PCB: false\nuse_dense: true\n")
    with pytest.raises(UserError, match=r"ibn contradicts .* \(backbone: densenet121\)"):
        run_options("--ibn")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--name", "run"],
            "name would be ignored: backbone=resnet18 is a network without a run",
        ),
        (["--which_epoch", "60"], "which_epoch would be ignored"),
        (["--PCB", "--neck", "none"], "neck=none means nothing to PCB"),
        (
            ["--neck", "bnneck", "--linear_num", "8"],
            "linear_num=8 means nothing to neck=bnneck",
        ),
        (["--PCB", "--usam"], "exclude each other"),
        (["--use_dense"], "backbone=resnet18 and use_dense exclude each other"),
    ],
)
def test_flags_that_contradict_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        network_of("--backbone", "resnet18", "--weights", "none", *flags)


def test_a_run_may_be_tested_at_another_size():
    RunFolder("run").save_options(asdict(trained_as()))
    assert (run_options(*SMALL).height, run_options(*SMALL).width) == (64, 32)


def test_options_without_a_number_of_identities_are_refused():
    save_run()
    run = RunFolder("run")
    run.save_options(run.options() | {"nclasses": "abc"})
    with pytest.raises(UserError, match=r"opts\.yaml: nclasses: expected the number of identities"):
        Embedder("run", device="cpu")


def test_what_a_description_leaves_open_is_the_networks_own():
    tested = NetworkToTest(NetworkOptions(backbone="osnet_x0_25"), "none")
    assert tested.size == (256, 128)
    assert Embedder(tested, device="cpu").size == (256, 128)


@pytest.mark.parametrize(
    ("entry", "words"), [("height: 0", "height: 0"), ("PCB: 1", "PCB: 1"), ("pool: [a]", "pool")]
)
def test_an_options_file_that_describes_no_network_is_named(entry, words):
    save_run(backbone="test_resnet")
    run = RunFolder("run")
    lines = [
        line
        for line in run.options_file.read_text().splitlines()
        if line.split(":")[0] != entry.split(":")[0]
    ]
    run.options_file.write_text("\n".join([*lines, entry]))
    with pytest.raises(UserError, match=rf"opts\.yaml: {words}.*expected"):
        Embedder("run", device="cpu")
