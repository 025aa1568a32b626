"""An accelerator computes what the CPU computes.

They are skipped where there is none.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch

from benchmarks.support.people import write_people
from person_reid import losses
from person_reid.config.evaluate import RerankOptions
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CosineScores
from person_reid.training.step import Recorded, recorded_step
from tests.support.runs import equal_weights, log, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
DEVICE = torch.device("cuda")
SMALL = [
    "--backbone",
    "osnet_x0_25",
    "--weights",
    "none",
    "--height",
    "64",
    "--width",
    "32",
    "--batchsize",
    "8",
]


def people(count, seed):
    """Features of people that are apart, so that no rounding changes a ranking."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 20 + 1
    features = np.eye(64, dtype=np.float32)[labels] + random.normal(0, 0.1, (count, 64)).astype(
        np.float32
    )
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return FeatureSet(features, labels, random.integers(1, 5, count))


def test_the_metrics_are_those_of_the_cpu():
    query, gallery = people(40, 0), people(500, 1)
    there = evaluate(query, gallery, scores=CosineScores(query.features, gallery.features, DEVICE))
    assert there.line() == evaluate(query, gallery).line()


@pytest.mark.parametrize("method", ["k-reciprocal", "gnn", "aqe"])
def test_re_ranking_is_that_of_the_cpu(method):
    query, gallery = people(40, 0), people(500, 1)
    spec = RerankOptions(method=method)
    lines = {
        evaluate(
            query, gallery, scores=rescorer(spec)(query.features, gallery.features, device)
        ).line()
        for device in (None, DEVICE)
    }
    assert len(lines) == 1


@pytest.mark.parametrize(
    "name", ["triplet", "circle", "contrast", "lifted", "instance", "sphere", "arcface", "cosface"]
)
def test_losses_and_their_gradients_are_those_of_the_cpu(name):
    torch.manual_seed(0)
    features, labels = torch.randn(32, 64), torch.arange(32) // 4
    torch.manual_seed(1)
    loss = losses.create_loss(name, 8, 64)
    found = []
    for device in (torch.device("cpu"), DEVICE):
        there = features.to(device, copy=True).requires_grad_()
        value = loss.to(device)(there, labels.to(device))
        value.backward()
        found.append((value.item(), there.grad.cpu()))
    (value, gradient), (other, other_gradient) = found
    assert other == pytest.approx(value, rel=1e-4)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "least"), [(None, 0.9999), (torch.float16, 0.99), (torch.bfloat16, 0.98)]
)
def test_features_are_those_of_the_cpu(dtype, least):
    bank = torch.randint(
        0, 256, (24, 64, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    network = create_model("osnet_x0_25", weights="none")
    here = extract_features(
        fused_embedding(network, torch.device("cpu")), bank, torch.device("cpu"), 8
    )
    there = extract_features(fused_embedding(network, DEVICE), bank, DEVICE, 8, dtype=dtype)
    assert (here * there).sum(1).min() > least


@pytest.fixture
def trained(here):
    """Train three epochs with further flags, and return the weights."""
    write_people(here / "people" / "train_all", people=4, images=8)

    def train(name, *flags):
        import train as script

        script.main(
            [*SMALL, "--data_dir", "people", "--train_all", "--total", "3", "--name", name, *flags]
        )
        assert all(np.isfinite(record["loss"]) for record in log(name))
        return weights(name)

    return train


@pytest.mark.parametrize("flags", [[], ["--bf16"], ["--fp16"], ["--compile"]])
def test_a_training_is_repeatable(flags, trained):
    assert equal_weights(trained("first", *flags), trained("second", *flags))


@pytest.mark.parametrize(
    "flags",
    [
        ["--droprate", "0.5"],
        ["--bf16", "--loss", "triplet,center", "--neck", "bnneck", "--optimizer", "adam", "--wa"],
        ["--bf16", "--freeze_epochs", "1"],
        ["--fp16"],
        ["--resize_schedule", "32x16:1,64x32"],
        ["--adv", "0.1"],
    ],
)
def test_a_recorded_step_gives_the_weights_of_one_that_is_not(flags, trained, monkeypatch, caplog):
    caplog.set_level("INFO")
    replayed = trained("recorded", *flags)
    assert "one by one" not in caplog.text
    monkeypatch.setattr("person_reid.training.step.Recorded", lambda module: module)
    assert equal_weights(replayed, trained("launched", *flags))


class WithLoss(torch.nn.Module):
    """A layer and a loss, called as an Objective."""

    def __init__(self, name):
        super().__init__()
        self.layer = torch.nn.Linear(16, 64)
        self.loss = losses.create_loss(name, 64, 64, taught_dim=64)

    def forward(self, images, targets):
        features = self.layer(images)
        return self.loss(features, targets), features, features


@pytest.mark.parametrize(
    "name", [name for name, entry in losses.REGISTRY.items() if not entry.loss.needs_teacher]
)
def test_every_loss_can_be_recorded(name):
    torch.manual_seed(0)
    module = WithLoss(name).to(DEVICE)
    images, targets = torch.randn(32, 16, device=DEVICE), torch.arange(32, device=DEVICE) // 4
    with torch.no_grad():
        loss, _, _ = deepcopy(module)(images, targets)  # the centres of a loss move at every call
    replay = recorded_step(module, images, targets)
    torch.testing.assert_close(replay(images, targets)[0], loss)


def test_what_cannot_be_recorded_runs_as_it_is(caplog):
    class Waits(WithLoss):
        def forward(self, images, targets):
            loss, features, logits = super().forward(images + torch.rand_like(images), targets)
            return loss * bool(loss > 0), features, logits

    caplog.set_level("INFO")
    module = Waits("triplet").to(DEVICE)
    images, targets = torch.randn(32, 16, device=DEVICE), torch.arange(32, device=DEVICE) // 4
    found = []
    for call in (Recorded(module), module, Recorded(WithLoss("triplet").to(DEVICE))):
        torch.manual_seed(0)
        found.append(call(images, targets)[0].item())
    assert found[0] == found[1]
    assert caplog.text.count("one by one") == 1
