"""The published classes: their arguments, keys, features and outputs, and the tutorial's code."""

import inspect
import json
import re

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import model
import utils
from model import (
    PCB,
    ClassBlock,
    PCB_test,
    create_model,
    ft_net,
    ft_net_dense,
    weights_init_classifier,
    weights_init_kaiming,
)
from person_reid.errors import UserError
from tests.models.test_published_networks import as_published
from tests.support import FIXTURES

# Network: (call, the published parameters after self, in order)
CLASSES = {
    "resnet50": ("ft_net(751)", "class_num droprate stride circle ibn linear_num usam"),
    "resnet50_stride1": (
        "ft_net(751, 0.5, 1)",
        "class_num droprate stride circle ibn linear_num usam",
    ),
    "resnet50_linear0": (
        "ft_net(751, linear_num=0)",
        "class_num droprate stride circle ibn linear_num usam",
    ),
    "resnet50_usam": (
        "ft_net(751, usam=True)",
        "class_num droprate stride circle ibn linear_num usam",
    ),
    "resnet50_ibn_a": (
        "ft_net(751, ibn=True)",
        "class_num droprate stride circle ibn linear_num usam",
    ),
    "densenet121": ("ft_net_dense(751)", "class_num droprate stride circle linear_num"),
    "densenet121_stride1": (
        "ft_net_dense(751, stride=1)",
        "class_num droprate stride circle linear_num",
    ),
    "swin_base_224": ("ft_net_swin(751)", "class_num droprate stride circle linear_num"),
    "swinv2_base_256x128": (
        "ft_net_swinv2(751, (256, 128))",
        "class_num input_size droprate stride circle linear_num",
    ),
    "dinov3_vit_base_256x128": (
        "ft_net_dino(751)",
        "class_num input_size droprate stride circle linear_num",
    ),
    "convnext_base": (
        "ft_net_convnext(751, stride=1)",
        "class_num droprate stride circle linear_num",
    ),
    "hrnet_w18": ("ft_net_hr(751)", "class_num droprate circle linear_num"),
    "efficientnet_b4": ("ft_net_efficient(751)", "class_num droprate circle linear_num"),
    "nasnetalarge": ("ft_net_NAS(751)", "class_num droprate linear_num"),
}


def built(call):
    """The network of a call such as ft_net(751), with random weights."""
    return eval(
        call[:-1] + ', weights="none")', {name: getattr(model, name) for name in model.__all__}
    )


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_and_keys_are_the_published_ones(name, fixtures):
    """The weights have no values, so the test is fast.

    The features of all networks are compared for create_model, which shares the path.
    """
    call, parameters = CLASSES[name]
    published = json.loads((fixtures / "models.json").read_text())["models"][name]
    with torch.device("meta"):
        network = built(call).eval()
        if "usam" not in name:  # its autocast knows no meta device
            assert network(torch.zeros(published["input"])).shape == (2, 751)
    assert isinstance(network, getattr(model, call.partition("(")[0]))
    assert [*inspect.signature(type(network)).parameters][:-1] == parameters.split()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == published[
        "state_dict"
    ]


@pytest.mark.parametrize("name", ["resnet50_stride1", "resnet50_linear0"])
def test_without_the_classifier_the_output_is_the_published_feature(name, fixtures):
    network = built(CLASSES[name][0]).eval()
    images, expected = as_published(network, name, fixtures)
    network.classifier.classifier = nn.Sequential()
    with torch.inference_mode():
        features = network(images).numpy()
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_pcb_gives_six_logits_and_its_test_half_the_stripes(fixtures):
    network = PCB(751, weights="none").eval()
    images, expected = as_published(network, "PCB", fixtures)
    with torch.inference_mode():
        logits = network(images)
        stripes = PCB_test(network)(images)
    assert isinstance(logits, list)
    assert [one.shape for one in logits] == [(2, 751)] * 6
    assert stripes.shape == (2, 2048, 6)
    assert PCB_test(network).model is network.model
    np.testing.assert_allclose(
        stripes.flatten(1).numpy(), expected, rtol=0, atol=1e-3 * np.abs(expected).max()
    )


def test_pcb_test_keeps_the_resolution_of_a_network_that_halves_it():
    network = ft_net(5, weights="none")
    assert PCB_test(network).eval()(torch.zeros(1, 3, 192, 96)).shape == (1, 2048, 6)
    assert (
        network.model.layer4[0].conv2.stride
        == network.model.layer4[0].downsample[0].stride
        == (1, 1)
    )
    assert network.model.layer3[0].conv2.stride == (2, 2)


def test_circle_gives_the_feature_beside_the_logits():
    network = ft_net_dense(7, circle=True, linear_num=64, weights="none").eval()
    logits, feature = network(torch.randn(2, 3, 64, 32))
    assert logits.shape == (2, 7)
    assert feature.shape == (2, 64)
    torch.testing.assert_close(network.classifier.classifier(feature), logits)


@pytest.mark.parametrize(
    "arguments, layers",
    [
        ({}, "Linear BatchNorm1d Dropout"),
        ({"relu": True}, "Linear BatchNorm1d LeakyReLU Dropout"),
        ({"relu": True, "droprate": 0}, "Linear BatchNorm1d LeakyReLU"),
        ({"bnorm": False, "linear": 0}, "Dropout"),
        ({"droprate": 0, "bnorm": False}, "Linear"),
    ],
)
def test_class_block_has_the_layers_that_its_arguments_ask_for(arguments, layers):
    block = ClassBlock(16, 5, **arguments).eval()
    assert [type(layer).__name__ for layer in block.add_block] == layers.split()
    # The slope of the published LeakyReLU.
    assert {getattr(layer, "negative_slope", 0.1) for layer in block.add_block} == {0.1}
    assert block.linear_num == (arguments.get("linear", 512) or 16)
    assert block(torch.randn(3, 16)).shape == (3, 5)
    parameters = ["input_dim", "class_num", "droprate", "relu", "bnorm", "linear", "return_f"]
    assert [*inspect.signature(ClassBlock).parameters] == parameters
    assert [layer.p for layer in ClassBlock(16, 5).modules() if isinstance(layer, nn.Dropout)] == [
        0.5
    ]


def test_a_run_of_ours_loads_into_the_published_class_and_ranks_alike():
    ours = create_model("resnet50", 6, weights="none").eval()
    theirs = ft_net(6, weights="none").eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 32)
    features, logits = ours.outputs(images)
    torch.testing.assert_close(theirs(images), logits)
    torch.testing.assert_close(theirs.embed(images), features)


def test_the_published_initial_values_are_those_of_a_new_head():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(2048, 512), nn.BatchNorm1d(512), nn.Conv2d(64, 32, 3)).apply(
        weights_init_kaiming
    )
    linear, norm, convolution = layers
    assert linear.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)  # fan_out
    # fan_in
    assert convolution.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.005)
    assert norm.weight.std() < 0.03
    assert not linear.bias.any()
    assert not norm.bias.any()
    classifier = nn.Linear(512, 751).apply(weights_init_classifier)
    assert classifier.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert not classifier.bias.any()


def test_dropout_is_switched_on_for_a_network_in_evaluation():
    layers = (
        nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), model.USAM())
        .eval()
        .apply(model.activate_drop)
    )
    assert layers[0].training
    assert not layers[1].training


def test_the_published_functions_of_utils_work(here):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    )
    network[1].running_mean.normal_()
    utils.save_network(network, "mine", 59)
    assert utils.RunFolder("mine").weights_file("60").name == "net_059.pth"
    fresh = utils.load_network(nn.Sequential(*(type(network)(*network))), "mine", 60).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = network.eval()(images)
    torch.testing.assert_close(fresh(images), expected)
    fused = utils.fuse_all_conv_bn(network)
    torch.testing.assert_close(fused(images), expected)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    utils.load_state_dict_mute(
        fresh, {"0.weight": torch.zeros(4, 3, 3, 3), "other": torch.zeros(1)}
    )
    assert not fresh[0].weight.any()


def test_smoothed_labels_are_those_of_the_paper():
    scores, labels = torch.randn(5, 7), torch.tensor([0, 3, 6, 1, 1])
    smoothed = 0.9 * nn.functional.one_hot(labels, 7) + 0.1 / 7
    expected = -(smoothed * scores.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(utils.CrossEntropyLabelSmooth(0.1)(scores, labels), expected)


def test_the_published_drop_rates_are_those_of_training():
    network = ft_net(5, droprate=0.25, weights="none")
    assert [layer.p for layer in network.classifier.add_block if isinstance(layer, nn.Dropout)] == [
        0.25
    ]
    with torch.device("meta"):
        swin = model.ft_net_swin(5, weights="none")
    assert max(getattr(layer, "drop_prob", 0) or 0 for layer in swin.modules()) == pytest.approx(
        0.2
    )


def test_the_code_of_the_published_tutorial_runs(monkeypatch):
    page = (FIXTURES / "published_tutorial.md").read_text(encoding="utf-8")
    (part_1,) = re.findall(r"```python\n(import torch\n.*?class ft_net.*?)```", page, re.S)
    resnet50 = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda pretrained: resnet50(weights=None))
    names: dict = {"ClassBlock": ClassBlock}
    exec(part_1, names)
    assert names["ft_net"](9).eval()(torch.randn(2, 3, 64, 32)).shape == (2, 9)
    monkeypatch.undo()

    (part_2,) = re.findall(r"```python\n(outputs = model\(input_img\).*?)```", page, re.S)
    network = ft_net(751, weights="none").eval()
    network.classifier.classifier = nn.Sequential()
    names = {"model": network, "input_img": torch.randn(2, 3, 64, 32), "torch": torch}
    exec(part_2, names)
    torch.testing.assert_close(names["ff"].norm(dim=1), torch.ones(2))


def test_weights_that_the_constructors_cannot_load_are_refused():
    with pytest.raises(UserError, match="load_weights reads a file"):
        ft_net(5, weights="resnet50.pth")
