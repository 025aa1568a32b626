"""Values and gradients against pytorch-metric-learning, or else against loops from the papers."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as library
from pytorch_metric_learning.miners import BatchHardMiner, MultiSimilarityMiner
from pytorch_metric_learning.reducers import MeanReducer

from person_reid import losses
from person_reid.errors import UserError
from person_reid.losses.center import CenterLoss
from person_reid.losses.pairs import k_means
from tests.support import slow_losses as slow

CLASSES, DIM = 9, 16


def batch(seed, count=24, spread=1.0, classes=CLASSES):
    """Features around one direction per identity.

    Pairs are neither all satisfied nor all violated.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    directions = torch.randn(classes, DIM, generator=generator)
    return directions[labels] + spread * torch.randn(count, DIM, generator=generator), labels


def check(loss, oracle, features, labels, tolerance=1e-5):
    """The loss in float32 and the oracle in float64 agree, and so do their gradients.

    The tolerance is relative to the largest gradient.
    """
    ours = features.float().clone().requires_grad_()
    value = loss(ours, labels)
    value.backward()
    theirs = features.double().clone().requires_grad_()
    expected = oracle(theirs, labels)
    expected.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    scale = theirs.grad.abs().max().item()
    assert (ours.grad - theirs.grad).abs().max().item() <= tolerance * max(scale, 1e-2)


def mined(loss, miner):
    return lambda features, labels: loss(features, labels, miner(features, labels))


LIBRARY = {
    "triplet": mined(library.TripletMarginLoss(margin=0.3), MultiSimilarityMiner(epsilon=0.1)),
    "triplet_hard": mined(
        library.TripletMarginLoss(margin=0.3, reducer=MeanReducer()), BatchHardMiner()
    ),
    "contrast": library.ContrastiveLoss(pos_margin=0, neg_margin=1),
    "lifted": library.GeneralizedLiftedStructureLoss(neg_margin=1, pos_margin=0),
    "multi_similarity": mined(
        library.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), MultiSimilarityMiner(0.1)
    ),
}


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", LIBRARY)
def test_pair_losses_equal_the_library(name, seed, spread):
    features, labels = batch(seed, count=48, spread=spread)
    check(losses.create_loss(name), LIBRARY[name], features, labels)


def test_options_equal_the_library():
    features, labels = batch(2)
    check(
        losses.create_loss("triplet", mining="all", margin=0.1),
        library.TripletMarginLoss(margin=0.1),
        features,
        labels,
    )
    check(
        losses.create_loss("multi_similarity", epsilon=None),
        library.MultiSimilarityLoss(2, 50, 0.5),
        features,
        labels,
    )
    # Not every pair violates its own.
    contrast = losses.create_loss("contrast", positive_margin=1.0, negative_margin=1.3)
    check(contrast, library.ContrastiveLoss(pos_margin=1.0, neg_margin=1.3), features, labels)
    lifted = losses.create_loss("lifted", positive_margin=0.2, negative_margin=0.5)
    check(
        lifted,
        library.GeneralizedLiftedStructureLoss(neg_margin=0.5, pos_margin=0.2),
        features,
        labels,
    )
    # Some of a few images are satisfied.
    lifted = losses.create_loss("lifted", positive_margin=1.2, negative_margin=0.3)
    oracle = library.GeneralizedLiftedStructureLoss(neg_margin=0.3, pos_margin=1.2)
    check(lifted, oracle, *batch(2, count=5, classes=2))


def test_ranked_is_near_the_library():
    """The agreement is coarser, because the library adds 1e-5 to every weight of a row.

    The loop below is exact.
    """
    features, labels = batch(3)
    oracle = library.RankedListLoss(margin=1.3, Tn=1, alpha=2.0, imbalance=0.5, Tp=0)
    check(losses.create_loss("ranked"), oracle, features, labels, tolerance=1e-3)


PROTOTYPES = {
    "arcface": library.ArcFaceLoss,
    "cosface": library.CosFaceLoss,
    "sphere": library.SphereFaceLoss,
}


def test_ranked_stays_finite_with_a_temperature_that_would_overflow():
    features, labels = batch(3, spread=0.03, classes=3)
    settings: dict[str, Any] = {"positive_temperature": 2.0, "negative_temperature": 200.0}
    check(
        losses.create_loss("ranked", **settings),
        lambda f, y: slow.ranked(f, y, **settings),
        features,
        labels,
    )


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("name", PROTOTYPES)
def test_prototype_losses_equal_the_library(name, spread):
    """Features lie all around, also on the side away from the prototype.

    The prototypes' gradients agree as well.
    """
    torch.manual_seed(0)
    features, labels = batch(4, count=64, spread=spread)
    ours, theirs = losses.create_loss(name, CLASSES, DIM), PROTOTYPES[name](CLASSES, DIM).double()
    theirs.W.data.copy_(ours.prototypes.data.T)
    check(ours, lambda f, y: theirs(f / f.norm(dim=1, keepdim=True), y), features, labels)
    torch.testing.assert_close(ours.prototypes.grad.double(), theirs.W.grad.T, rtol=1e-5, atol=1e-5)


LOOPS = [
    "triplet_hard",
    "triplet_soft",
    "triplet_weighted",
    "circle",
    "instance",
    "instance_id",
    "ranked",
    "focal",
]


@pytest.mark.parametrize("name", LOOPS)
def test_losses_equal_loops_from_their_papers(name):
    features, labels = batch(5, count=20)
    check(losses.create_loss(name), getattr(slow, name), features, labels)


def test_variants_equal_loops_from_their_papers():
    features, labels = batch(6, count=16)
    check(
        losses.create_loss("triplet"),
        lambda f, y: slow.triplet(f, y, epsilon=0.1),
        features,
        labels,
    )
    check(losses.create_loss("triplet", mining="all"), slow.triplet, features, labels)
    check(losses.create_loss("cross_entropy", smoothing=0.1), slow.cross_entropy, features, labels)
    settings: dict[str, Any] = {"alpha": 1.4, "margin": 0.9, "balance": 0.3}
    settings |= {"positive_temperature": 2.0, "negative_temperature": 5.0}
    check(
        losses.create_loss("ranked", **settings),
        lambda f, y: slow.ranked(f, y, **settings),
        features,
        labels,
    )
    for name in ("instance", "instance_id"):  # at the usual scale they are nearly zero
        check(
            losses.create_loss(name, gamma=2.0),
            lambda f, y, name=name: getattr(slow, name)(f, y, gamma=2.0),
            features,
            labels,
        )


def test_centers_move_as_in_their_paper_but_not_in_evaluation():
    """Equation 4 holds for a batch with two, one and no image of a class.

    The value is the one before the move.
    """
    features, _ = batch(7, count=3)
    labels = torch.tensor([1, 1, 2])
    loss = CenterLoss(CLASSES, DIM, rate=0.3)
    loss.centers.copy_(torch.randn(CLASSES, DIM))
    before = loss.centers.double()
    loss.eval()
    check(loss, lambda f, y: slow.center(f, y, before), features, labels)
    assert torch.equal(loss.centers.double(), before)
    loss.train()
    check(deepcopy(loss), lambda f, y: slow.center(f, y, before), features, labels)
    loss(features, labels)
    torch.testing.assert_close(
        loss.centers.double(), slow.moved_centers(features.double(), labels, before, 0.3)
    )
    with pytest.raises(UserError, match="rate 2: expected a number from 0 to 1"):
        losses.create_loss("center", CLASSES, DIM, rate=2.0)
    for rate in (0.0, 1.0):
        assert losses.create_loss("center", CLASSES, DIM, rate=rate).rate == rate


@pytest.mark.parametrize(
    ("name", "angle"), [("sphere", slow.sphere_angle), ("arcface", slow.arc_angle)]
)
def test_a_margin_is_its_function_of_the_angle(name, angle):
    thetas = torch.linspace(0, math.pi, 181)
    found = losses.create_loss(name, CLASSES, DIM).with_margin(thetas.cos())
    expected = torch.tensor([angle(theta.item()) for theta in thetas])
    # 5e-4: float32's cosine at an angle near 0
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    assert (found.diff() <= 1e-3).all()


HEADS = ["cosine_softmax", "arcface_softmax", "circle_softmax"]


def cosines_of(seed, spread=1.0):
    """Cosines (24, CLASSES) of features and class directions, and labels.

    The features are near the right class, and all around.
    """
    features, labels = batch(seed, spread=spread)
    prototypes = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(seed))
    return 0.9 * slow.unit(features + 2 * prototypes[labels]) @ slow.unit(prototypes).T, labels


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("name", HEADS)
def test_softmax_heads_equal_loops_from_their_papers(name, spread):
    check(losses.create_loss(name), getattr(slow, name), *cosines_of(9, spread))
    settings: dict[str, Any] = {"margin": 10.0 if name == "arcface_softmax" else 0.1, "scale": 16.0}
    check(
        losses.create_loss(name, **settings),
        lambda f, y: getattr(slow, name)(f, y, **settings),
        *cosines_of(9, spread),
    )


@pytest.mark.parametrize(
    ("head", "prototypes"), [("arcface_softmax", "arcface"), ("cosine_softmax", "cosface")]
)
def test_a_softmax_head_is_the_prototype_loss_of_its_class_weights(head, prototypes):
    features, labels = batch(10)
    loss = losses.create_loss(prototypes, CLASSES, DIM)
    cosines = slow.unit(features) @ slow.unit(loss.prototypes.detach()).T
    margin: dict[str, Any] = {"margin": 28.6} if head == "arcface_softmax" else {}
    torch.testing.assert_close(
        losses.create_loss(head, **margin)(cosines, labels), loss(features, labels)
    )


@pytest.mark.parametrize("name", [*HEADS, "cross_entropy"])
def test_evaluation_is_plain_cross_entropy_without_margin_or_smoothing(name):
    cosines, labels = cosines_of(11)
    loss = losses.create_loss(name, smoothing=0.1)
    trained = loss(cosines, labels)
    evaluated = loss.eval()(cosines, labels)
    expected = torch.nn.functional.cross_entropy(getattr(loss, "scale", 1.0) * cosines, labels)
    torch.testing.assert_close(evaluated, expected)
    assert trained > evaluated


@pytest.mark.parametrize("name", HEADS)
def test_smoothing_of_a_head_is_that_of_cross_entropy(name):
    cosines, labels = cosines_of(12)
    plain, smoothed = losses.create_loss(name), losses.create_loss(name, smoothing=0.1)
    logits = plain.scale * plain.with_margin(cosines, labels)
    torch.testing.assert_close(
        plain(cosines, labels), losses.create_loss("cross_entropy")(logits, labels)
    )
    torch.testing.assert_close(
        smoothed(cosines, labels), slow.cross_entropy(logits.double(), labels).float()
    )


def test_one_image_per_cluster_has_no_negative_and_one_cluster_has_all():
    features, labels = batch(8)
    # Qian's code has 8 as well.
    assert (
        losses.create_loss("ranked_kmeans").clusters == losses.create_loss("cranked").clusters == 8
    )
    ranked = losses.create_loss("ranked")(features, labels)
    assert losses.create_loss("ranked_kmeans", clusters=1)(
        features, labels
    ).item() == pytest.approx(ranked.item())
    alone = losses.create_loss("ranked_kmeans", clusters=len(features))(features, labels)
    positives_only = losses.create_loss("ranked", balance=0.0)(features, labels) / 2
    assert alone.item() == pytest.approx(positives_only.item())


def test_k_means_finds_separate_groups():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(40) % 5
    points = 10 * torch.eye(5, DIM)[truth] + 0.1 * torch.randn(40, DIM, generator=generator)
    clusters = k_means(points, 5)
    assert ((clusters[:, None] == clusters) == (truth[:, None] == truth)).all()


def lloyd(points, count, iterations):
    """The clusters of points by definition.

    Each begins at the point farthest from the centers so far.
    """
    centers = [points[0]]
    while len(centers) < count:
        centers.append(
            max(points, key=lambda point: min(np.linalg.norm(point - center) for center in centers))
        )

    def nearest():
        return np.array(
            [np.argmin([np.linalg.norm(point - center) for center in centers]) for point in points]
        )

    for _ in range(iterations):
        clusters = nearest()
        centers = [points[clusters == k].mean(0) for k in range(count)]
    return nearest().tolist()


def test_k_means_is_ten_iterations_of_lloyd():
    points = slow.unit(torch.from_numpy(np.random.default_rng(9).normal(size=(150, 3))))
    expected = lloyd(points.numpy(), 8, 10)
    assert k_means(points, 8).tolist() == expected
    assert expected not in [lloyd(points.numpy(), 8, iterations) for iterations in (1, 9, 11)]
