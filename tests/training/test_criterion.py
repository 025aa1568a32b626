"""The objective of a run: its flags, --loss, the sum of losses, and a network trained with them."""

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import train
from benchmarks.support.people import draw_people
from person_reid import losses
from person_reid.config import TrainConfig
from person_reid.console import parse
from person_reid.errors import UserError
from person_reid.training.build import create_criterion
from person_reid.training.training_run import Run
from tests.support.flags import SMALLEST
from tests.support.small_training import trained_as

CLASSES = 4
DIM = 16
IMAGES = 8


def criterion(*flags, parts=1):
    torch.manual_seed(0)
    config = parse(TrainConfig, flags)
    network: Any = torch.nn.Module()
    vars(network).update(head_name=config.head, parts=parts, metric_dim=DIM, num_classes=CLASSES)
    return create_criterion(config, network)


def batch(parts=None, heads=None):
    """Features, logits in [-1, 1] and labels, of a part network where parts and heads are given."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, *([parts] if parts else []), DIM, generator=generator)
    logits = torch.rand(IMAGES, *([heads] if heads else []), CLASSES, generator=generator) * 2 - 1
    return features, logits, torch.arange(IMAGES) % CLASSES


def test_the_default_loss_is_cross_entropy():
    features, logits, labels = batch()
    found = criterion()(features, logits, labels)
    torch.testing.assert_close(found, cross_entropy(logits, labels)[None])


def test_a_list_of_losses_adds_each_with_its_weight():
    found = criterion("--loss", "triplet:2.0,center:5e-4,focal:0.5")
    features, logits, labels = batch()
    center = losses.create_loss("center", CLASSES, DIM)
    center.load_state_dict(found.added["center"][0].state_dict())
    expected = {
        "cross_entropy": cross_entropy(logits, labels),
        "triplet": 2 * losses.create_loss("triplet")(features, labels),
        "center": 5e-4 * center(features, labels),
        "focal": 0.5 * losses.create_loss("focal")(logits, labels),
    }
    assert found.names == [*expected]
    torch.testing.assert_close(found(features, logits, labels), torch.stack([*expected.values()]))


def test_settings_of_the_list_reach_the_losses_and_the_classifiers_own():
    found = criterion(
        "--loss",
        "triplet_hard:0.5:margin=0.7,cross_entropy:2:margin=0.1:scale=16",
        "--head",
        "cosine",
    )
    assert found.added["triplet_hard"][0].margin == 0.7
    assert (
        found.classification.margin,
        found.classification.scale,
        found.of_classifier.spec.weight,
    ) == (0.1, 16, 2)
    with pytest.raises(UserError, match="no setting 'margin'"):
        criterion("--loss", "cross_entropy:1:margin=0.1")
    with pytest.raises(UserError, match="by label_smoothing"):
        criterion("--loss", "cross_entropy:1:smoothing=0.1")


def test_alpha_is_the_weight_of_the_verification_loss():
    found = criterion("--alpha", "0.7")
    features, logits, labels = batch()
    verification = losses.create_loss("verification", dim=DIM)
    verification.load_state_dict(found.added["verification"][0].state_dict())
    expected = cross_entropy(logits, labels) + 0.7 * verification.eval()(features, labels)
    found.eval()
    torch.testing.assert_close(found(features, logits, labels).sum(), expected)


@pytest.mark.parametrize("weight", [0, 0.25])
def test_the_list_may_weigh_cross_entropy(weight):
    features, logits, labels = batch()
    found = criterion("--loss", f"cross_entropy:{weight},circle:1")(features, logits, labels)
    expected = weight * cross_entropy(logits, labels) + losses.create_loss("circle")(
        features, labels
    )
    torch.testing.assert_close(found.sum(), expected)


@pytest.mark.parametrize("head", ["linear", "cosine", "arcface", "circle"])
def test_the_head_decides_the_loss_of_the_classifier(head):
    found = criterion("--head", head, "--label_smoothing", "0.1")
    features, cosines, labels = batch()
    expected = losses.create_loss(losses.LOSS_OF_HEAD[head], smoothing=0.1)
    torch.testing.assert_close(found(features, cosines, labels)[0], expected(cosines, labels))
    scale = 1.0 if head == "linear" else expected.scale
    torch.testing.assert_close(
        found.eval().classify(cosines, labels), cross_entropy(scale * cosines, labels)
    )


def test_a_part_network_has_losses_and_prototypes_for_each_part():
    found = criterion("--triplet", "--loss", "center:0.1,focal:1", parts=3).eval()
    features, logits, labels = batch(parts=3, heads=2)
    centers = found.added["center"]
    assert len(centers) == 3
    expected = sum(cross_entropy(logits[:, h], labels) for h in range(2))
    expected = expected + sum(losses.create_loss("focal")(logits[:, h], labels) for h in range(2))
    for p in range(3):
        expected = (
            expected
            + losses.create_loss("triplet")(features[:, p], labels)
            + 0.1 * centers[p](features[:, p], labels)
        )
    torch.testing.assert_close(found(features, logits, labels).sum(), expected)
    found.train()(features, logits, labels)
    assert not torch.equal(centers[0].centers, centers[1].centers)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss", "triplt"], "Did you mean 'triplet'"),
        (["--loss", "triplet:1,triplet:2"], "each name once"),
        (
            ["--loss", "triplet:0.5", "--triplet"],
            "asked for twice, by triplet and by loss=triplet:0.5",
        ),
        (["--loss", "verification", "--alpha", "1"], "asked for twice, by alpha"),
        (
            ["--loss", "focal:1", "--head", "cosine"],
            "focal needs class scores.*choose the linear head",
        ),
        (["--loss", "arcface_softmax"], "Choose it by head=arcface"),
        (["--loss", "circle_softmax", "--head", "circle"], "Choose it by head=circle"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        criterion(*flags)


def test_a_run_refuses_a_loss_asked_for_twice_before_it_reads_any_image():
    with pytest.raises(UserError, match="asked for twice"):
        trained_as("--loss", "circle", "--circle", "--data_dir", "nowhere")


def test_weights_that_losses_own_are_saved_and_restored():
    first = criterion("--arcface", "--loss", "center")
    second = criterion("--arcface", "--loss", "center")
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    features, logits, labels = batch()
    assert (first(features, logits, labels) != second(features, logits, labels)).any()
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(features, logits, labels), second(features, logits, labels))


def test_list_shows_the_losses_and_their_papers(capsys):
    with pytest.raises(SystemExit) as end:
        trained_as("--loss", "list")
    assert end.value.code in (None, 0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(losses.REGISTRY)
    assert all(line.rstrip(")")[-2:].isdigit() or "Qian" in line for line in lines)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Six small synthetic people, 36 images."""
    return draw_people(tmp_path_factory.mktemp("people"), 6, cameras=3)


def train_on(people, *flags):
    network = [*SMALLEST]
    network += ["--batchsize", "12", "--total", "2", "--lr", "0.01", "--gpu_ids", "-1"]
    train.main(["--data_dir", str(people), "--name", "run", *network, *flags])


RUNS = [
    ["--loss", "triplet:1.0,center:5e-4"],
    ["--loss", "ranked_kmeans"],
    ["--loss", "cranked:0.8"],
    ["--loss", "focal:1,cross_entropy:0"],
    ["--alpha", "1.0"],
    ["--contrast", "--sphere"],
    ["--head", "arcface", "--label_smoothing", "0.1"],
    [
        "--head",
        "circle",
        "--neck",
        "bnneck",
        "--triplet",
        "--bf16",
        "--height",
        "64",
        "--width",
        "32",
    ],
    ["--instance_id", "--label_smoothing", "0.1"],
    ["--sampler", "pk_camera", "--loss", "triplet_soft,lifted:0.1,multi_similarity", "--wa"],
]


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("flags", RUNS, ids=" ".join)
def test_losses_train_from_the_command_line(flags, people, here):
    train_on(people, *flags)
    state = torch.load("model/run/resume.pth", weights_only=True)
    assert state["epoch"] == 2
    assert all(
        0 < record["loss"] < 1000 and 0 < record["val_loss"] < 100 for record in state["history"]
    )


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (["--batchsize", "4", "--triplet"], True),
        (["--batchsize", "4", "--triplet", "--sampler", "pk", "--instances", "2"], False),
        (["--batchsize", "4", "--arcface"], False),
        (["--batchsize", "36", "--triplet"], False),
    ],
)
def test_losses_that_need_pairs_say_so_when_a_shuffled_batch_hardly_has_any(
    flags, warned, people, here, monkeypatch, capsys
):
    """A batch of 4 has 6 · 5 / 35 pairs on average, and one of 36 all 90.

    There are six images of each of six people.
    """
    # No epoch is needed to see the message.
    monkeypatch.setattr(Run, "epochs", lambda journal: iter(()))
    train_on(people, "--train_all", *flags)
    output = capsys.readouterr().out
    assert ("A shuffled batch of 4 images holds 0.9 pairs" in output) == warned
    assert ("--sampler pk puts 4 images of each identity" in output) == warned
