"""Published networks in training: stochastic depth, dropout, optimiser groups and first weights."""

import json
from functools import cache

import pytest
import torch
from torch import nn

from person_reid.models.architecture import stochastic_depth
from person_reid.models.factory import build_network, create_model, own_settings
from person_reid.training.schedule import build_optimizer
from tests.support import FIXTURES
from tests.support.small_training import trained_as

PUBLISHED = json.loads((FIXTURES / "training.json").read_text())["networks"]
FLAGS = {
    "resnet50": "",
    "resnet50_usam": "--usam",
    "densenet121": "--use_dense",
    "swin": "--use_swin",
    "swinv2": "--use_swinv2",
    "dino": "--use_dino",
    "convnext": "--use_convnext",
    "hr": "--use_hr",
    "efficient": "--use_efficient",
    "nas": "--use_NAS",
    "PCB": "--PCB",
}


def options_of(flags):
    return trained_as(*flags.split())


@pytest.fixture(params=FLAGS)
def name(request):
    return request.param


@pytest.fixture
def network(name):
    return built(FLAGS[name]).train()


@cache
def built(flags):
    """The network as train.py builds it, without numbers."""
    with torch.device("meta"):
        return build_network(options_of(flags), 751, "none")


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def test_every_published_network_is_here():
    assert set(FLAGS) == set(PUBLISHED)


def test_stochastic_depth_and_dropout_are_the_published_ones(name, network):
    published = PUBLISHED[name]
    rates = published["drop_path"] or [published["drop_connect_rate"]] * bool(
        published["drop_connect_rate"]
    )
    assert stochastic_depth(network.model) == pytest.approx(rates, abs=1e-5)
    dropouts = {layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)} - {0.0}
    assert sorted(dropouts) == published["dropout"]


def test_the_groups_of_the_optimiser_have_the_published_sizes(name, network):
    """The unused ImageNet classifiers are in a published group, but in none of ours."""
    options = options_of(FLAGS[name])
    optimizer = build_optimizer(network, nn.Identity(), options)
    groups = {group["name"]: group for group in optimizer.param_groups}
    unused = count(parameter for parameter in network.parameters() if not parameter.requires_grad)
    sizes = {group: count(groups[group]["params"]) for group in ("backbone", "head")}
    sizes["head" if name == "PCB" else "backbone"] += unused
    published = PUBLISHED[name]
    assert sizes == {
        "backbone": published["base_group_parameters"],
        "head": published["classifier_group_parameters"],
    }
    assert (groups["backbone"]["lr"], groups["head"]["lr"]) == pytest.approx(
        (0.1 * options.lr, options.lr)
    )
    outside = [key for key, _ in network.named_children() if key.startswith("usam")]
    assert outside == published["base_group_outside_model"]


def test_the_classifier_begins_at_the_published_scale():
    """The scale does not depend on the backbone: the smallest of them stands for all."""
    network = create_model("resnet18", 751, weights="none")
    (published,) = {one["init"]["classifier_std"] for one in PUBLISHED.values()} - {None}
    assert network.classifier.classifier[0].weight.std().item() == pytest.approx(
        published, rel=0.01
    )


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        ("--use_convnext", 0.2),
        ("--backbone swin_tiny", 0.1),
        pytest.param("--backbone swin_small_patch4_window7_224", 0.1, marks=pytest.mark.slow),
        ("--backbone swin_t", 0.2),
        ("--backbone resnet50d", 0.0),
        *((f"{flags} --drop_path 0", 0.0) for flags in ("--backbone swin_t", "--use_efficient")),
        ("--backbone swin_tiny --drop_path 0", 0.0),
    ],
)
def test_the_options_say_what_is_trained(flags, rate):
    options = options_of(flags)
    found = max(stochastic_depth(built(flags).model), default=0.0)
    assert own_settings(options)["drop_path"] == rate == pytest.approx(found)
