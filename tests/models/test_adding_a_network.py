"""The page that shows how to add a network is followed to the letter."""

import re

import pytest
import torch
from torch.nn.functional import cross_entropy

from person_reid.errors import UserError
from person_reid.models import factory as backbones
from person_reid.models.factory import create_model
from person_reid.models.from_timm import timm_entry
from person_reid.registration import Registry
from tests.support import ROOT


@pytest.fixture(autouse=True)
def the_table_stays(monkeypatch):
    known = Registry("backbone", backbones.ARCHITECTURES)
    monkeypatch.setattr(backbones, "ARCHITECTURES", known)


def blocks(page, heading):
    """The Python code below a heading of a page."""
    text = (ROOT / page).read_text("utf-8").partition(f"# {heading}\n")[2]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("stride, height", [(2, 8), (1, 16)])
def test_a_network_of_ones_own_is_one_entry_and_trains(stride, height):
    code = blocks("docs/extending.md", "With weights and stages")[0]
    exec(code, {})
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    network = create_model(
        "tiny", num_classes=5, weights="none", stride=stride, size=(64, 32), pool="gem"
    )
    images, labels = torch.randn(4, 3, 64, 32), torch.arange(4)
    assert network.architecture.feature_map(network.model, images).shape == (
        4,
        64,
        height,
        height // 2,
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = network.model[0].weight.clone()
    features, logits = network(images)
    cross_entropy(logits, labels).backward()
    optimizer.step()
    assert features.shape == (4, 512)
    assert not torch.equal(network.model[0].weight, before)


def test_a_network_of_timm_is_one_line():
    line = blocks("CONTRIBUTING.md", "Add a network")[0].strip()
    entry = eval("{" + line + "}", {"timm_entry": timm_entry})["regnety"]
    with torch.device("meta"):
        module = entry.build(False, (64, 32), 0.0)
        assert entry.feature(module, torch.zeros(2, 3, 64, 32)).shape == (2, entry.dim)


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_a_function_that_takes_pretrained_is_told_whether_to_load_weights(weights):
    told = []

    def tiny(pretrained=False):
        told.append(pretrained)
        return torch.nn.Conv2d(3, 8, 3)

    backbones.register_backbone("told", tiny)
    create_model("told", weights=weights, size=(32, 16))
    assert {*told} == {weights == "imagenet"}


def test_a_module_may_return_its_feature_in_place_of_a_map():
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    network = create_model(torch.nn.Sequential(*layers), size=(32, 16))
    assert network.embed(torch.zeros(2, 3, 32, 16)).shape == (2, 8)
    backbones.register_backbone("told", lambda: torch.nn.Sequential(*layers))
    with pytest.raises(UserError, match="it has no single last halving"):
        create_model("told", weights="none", stride=1, size=(32, 16))
