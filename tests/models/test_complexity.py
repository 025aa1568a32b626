"""Parameters and multiply-adds against the papers' and the libraries' own figures."""

import subprocess
import sys

import pytest
import torch
import torchvision

import model
from person_reid.config.network import NetworkOptions
from person_reid.models.architecture import LIST
from person_reid.models.complexity import complexity, stages, used_parameters
from person_reid.models.factory import ARCHITECTURES, build_network, create_model
from person_reid.models.osnet import Gate
from tests.support import ROOT
from tools.docs.networks import line, table

AGAIN = "python tools/docs/networks.py writes it again"
# Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019, table 6:
# millions of parameters and of multiply-adds at 256×128. OSNet-IBN and -AIN are as large (the
# authors' model zoo: 2.2 M and 0.98 G).
OSNET = {
    "osnet_x1_0": (2.2, 978.9),
    "osnet_x0_75": (1.3, 571.8),
    "osnet_x0_5": (0.6, 272.9),
    "osnet_x0_25": (0.2, 82.3),
    "osnet_ibn_x1_0": (2.2, 978.9),
    "osnet_ain_x1_0": (2.2, 978.9),
    "osnet_ain_x0_25": (0.2, 82.3),
}


def bare(name):
    with torch.device("meta"):
        return create_model(name, weights="none").eval()


def test_the_list_in_the_package_has_a_line_for_every_network():
    _, *lines, _ = LIST.read_text(encoding="utf-8").splitlines()
    assert [each.split()[0] for each in lines] == [*ARCHITECTURES]
    assert lines[::8] == [line(name) for name in [*ARCHITECTURES][::8]], AGAIN


@pytest.mark.slow
def test_the_list_in_the_package_is_that_of_the_networks():
    assert LIST.read_text(encoding="utf-8") == table(), AGAIN


def test_listing_the_networks_needs_no_pytorch():
    code = """
import runpy, sys
sys.argv = ["model.py"]
try:
    runpy.run_path("model.py", run_name="__main__")
except SystemExit:
    sys.exit("torch" in sys.modules)
sys.exit("the classes were read")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0
    assert done.stdout == LIST.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OSNET)
def test_osnet_is_as_large_and_as_slow_as_in_the_paper(name):
    found = complexity(bare(name), (256, 128))
    assert round(found.parameters / 1e6, 1) == OSNET[name][0]
    assert found.multiply_adds / 1e6 == pytest.approx(OSNET[name][1], abs=0.06)


# Pan et al., Two at Once, ECCV 2018, section 3.2: IBN-Net has the parameters and the cost of its
# ResNet; IBN-b's norms of two sums, 256 and 512 channels, come on top.
@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("variant, extra", [("a", 0), ("b", 2 * 256 + 2 * 512)])
def test_ibn_costs_what_its_resnet_costs(depth, variant, extra):
    plain = complexity(bare(f"resnet{depth}"), (224, 224))
    ibn = complexity(bare(f"resnet{depth}_ibn_{variant}"), (224, 224))
    assert ibn.parameters == plain.parameters + extra
    assert ibn.multiply_adds == plain.multiply_adds


def test_a_network_of_fast_reid_has_no_classifier_of_imagenet():
    weights = bare("fastreid_bot_resnet50").model.state_dict()
    assert not [name for name in weights if name.startswith("fc.")]


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "resnet152", "resnext50_32x4d", "densenet121"]
)
def test_figures_are_those_that_torchvision_publishes(name):
    published = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta
    network = bare({"resnext50_32x4d": "resnext50"}.get(name, name))
    found = complexity(network, (224, 224))
    classifier = network.dim * 1000
    assert found.parameters + classifier + 1000 == published["num_params"]
    assert (found.multiply_adds + classifier) / 1e9 == pytest.approx(published["_ops"], abs=0.01)


# Tan, Le, ICML 2019, table 2, and Howard et al., ICCV 2019, table 3: at 224×224, with the
# classifier of ImageNet.
@pytest.mark.parametrize(
    "name, parameters, multiply_adds",
    [
        ("efficientnet_b0", 5.3, 390),
        ("mobilenetv3_large", 5.4, 219),
        ("mobilenetv3_small", 2.5, 56),
    ],
)
def test_figures_are_those_of_the_papers(name, parameters, multiply_adds):
    network = bare(name)
    found = complexity(network, (224, 224))
    classifier = network.dim * 1000
    assert (found.parameters + classifier) / 1e6 == pytest.approx(parameters, abs=0.1)
    assert (found.multiply_adds + classifier) / 1e6 == pytest.approx(multiply_adds, rel=0.03)


def test_lightmbn_is_as_large_and_as_slow_as_its_authors_program_says():
    """The network of github.com/jixunbo/LightMBN (1f4ec0d) has 9,152,280 parameters.

    Herzog et al., ICIP 2021, built it for Market-1501. Its compute_model_complexity, with which a
    run begins, says 9,348,768 and 2,430,837,088. That counts layers as often as they are used
    (OSNet's gates four times, the reduction of the channel groups twice), biases, and the
    classifiers.
    """
    with torch.device("meta"):
        network = create_model("lightmbn", 751, weights="none").eval()
    calls: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def note_gate(gate, inputs, output):  # one call for all streams
        calls.extend((layer, layer.bias) for _ in inputs[0] for layer in (gate.fc1, gate.fc2))

    for layer in network.modules():
        if isinstance(layer, Gate):
            layer.register_forward_hook(note_gate)
        elif not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: calls.append((layer, output)))
    network.outputs(torch.zeros(1, 3, 384, 128, device="meta"))
    products = [
        (layer, output)
        for layer, output in calls
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    multiply_adds = sum(output.numel() * layer.weight[0].numel() for layer, output in products)
    biases = sum(output.numel() for layer, output in products if layer.bias is not None)
    assert sum(parameter.numel() for parameter in network.parameters()) == 9_152_280
    assert (
        sum(parameter.numel() for layer, _ in calls for parameter in layer.parameters())
        == 9_348_768
    )
    assert multiply_adds + biases == 2_430_837_088
    assert complexity(network, (384, 128)).multiply_adds == multiply_adds - 7 * 512 * 751


@pytest.mark.parametrize("name", ["resnet18", "osnet_x0_25", "vit_small", "swin_tiny"])
def test_stages_add_up_to_the_whole(name):
    network = bare(name)
    size = ARCHITECTURES[name].size
    rows, total = stages(network, size), complexity(network, size)
    assert sum(row.multiply_adds for row in rows) == total.multiply_adds
    # Class token, position embedding.
    of_itself = sum(p.numel() for p in network.model.parameters(recurse=False))
    assert (
        sum(row.parameters for row in rows) + of_itself
        == total.parameters
        == used_parameters(network)
    )
    assert len({row.name for row in rows}) == len(rows) > 3


def test_parts_in_lists_and_those_that_give_several_maps_are_stages():
    names = {row.name for row in stages(bare("hrnet_w18"), (256, 128))}
    assert {"transition1.0", "transition1.1", "stage2", "stage3", "stage4"} <= names


@pytest.mark.parametrize("classes", [10, 1000])
def test_classifiers_of_people_are_not_counted(classes):
    network = build_network(
        NetworkOptions(backbone="osnet_x0_25", neck="none"), classes, weights="none"
    )
    assert used_parameters(network) == used_parameters(bare("osnet_x0_25"))


def test_the_script_lists_and_describes(capsys):
    model.main([])
    head, *lines, last = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in lines}
    assert "multiply-adds" in head
    assert "timm" in last
    assert list(found) == list(ARCHITECTURES)
    assert found["osnet_x0_25"].split() == [
        "osnet_x0_25",
        "0.20",
        "M",
        "0.08",
        "G",
        "512",
        "256×128",
        "MIT",
    ]
    assert found["dinov3_vit_small"].endswith("dinov3-license")
    model.main(["osnet_x0_25"])
    text = capsys.readouterr().out
    assert "conv5" in text
    assert "128×16×8" in text
    assert "82,314,880" in text
    assert "MIT" in text
