"""Half precision, odd batches, compilation, and no wait for the host: every loss, every corner."""

from copy import deepcopy

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from person_reid import losses
from person_reid.losses.base import euclidean_distances, unit_length

NAMES = list(losses.REGISTRY)
CLASSES = 8


def create(name, dim=32):
    torch.manual_seed(0)
    return losses.create_loss(name, CLASSES, dim, taught_dim=CLASSES)


def batch(dim=32, count=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    features = torch.randn(CLASSES, dim, generator=generator)[labels] + torch.randn(
        count, dim, generator=generator
    )
    return features, labels


def value_and_gradient(loss, features, labels, autocast=None):
    """A loss of logits sees the first columns of the features as scores.

    A teacher knows the identity and nothing else. The backward pass is outside autocast. Every call
    draws the same dropout.
    """
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[labels].to(features.dtype) if loss.needs_teacher else labels
    features = features.clone().requires_grad_()
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        value = loss(features[:, :CLASSES] if loss.takes == "logits" else features, labels)
    value.backward()
    return value.detach(), features.grad


def assert_finite(value, gradient):
    assert value.ndim == 0
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(name, dtype):
    """Half-precision input inside autocast has exactly the loss of the same values in float32.

    A network or a teacher may give it.
    """
    features, labels = batch()
    features = features.to(dtype)
    loss = create(name)
    expected, gradient = value_and_gradient(deepcopy(loss), features.float(), labels)
    found = value_and_gradient(loss, features, labels, autocast=dtype)
    assert_finite(*found)
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1].float(), gradient, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [2, 64, 1000, 4096])
def test_a_loss_takes_any_dimension(name, dim):
    if losses.REGISTRY[name].loss.takes == "logits" and dim < CLASSES:
        pytest.skip("fewer scores than classes")
    assert_finite(*value_and_gradient(create(name, dim), *batch(dim)))


@pytest.mark.parametrize("name", NAMES)
def test_one_identity_no_positive_and_a_single_image_have_finite_losses(name):
    features, _ = batch(count=8)
    for labels in (torch.zeros(8, dtype=torch.int64), torch.arange(8)):
        assert_finite(*value_and_gradient(create(name), features, labels))
    assert_finite(
        *value_and_gradient(create(name), features[:1], torch.zeros(1, dtype=torch.int64))
    )


ZERO_WITHOUT_POSITIVES = ["triplet", "triplet_hard", "triplet_soft", "triplet_weighted", "circle"]
ZERO_WITHOUT_NEGATIVES = [*ZERO_WITHOUT_POSITIVES, "instance_id"]
ZERO_FOR_ONE_IMAGE = [
    *ZERO_WITHOUT_NEGATIVES,
    "contrast",
    "lifted",
    "multi_similarity",
    "ranked",
    "ranked_kmeans",
]
ZERO_FOR_ONE_IMAGE += ["cranked", "instance", "verification"]


@pytest.mark.parametrize(
    ("name", "identities"),
    [(name, range(8)) for name in ZERO_WITHOUT_POSITIVES]
    + [(name, 8 * [0]) for name in ZERO_WITHOUT_NEGATIVES]
    + [(name, [0]) for name in ZERO_FOR_ONE_IMAGE],
)
def test_a_loss_is_zero_without_positives_or_negatives_or_for_one_image(name, identities):
    labels = torch.tensor(identities)
    value, gradient = value_and_gradient(create(name), batch(count=len(labels))[0], labels)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_an_image_have_finite_gradients(name):
    """Two copies within an identity, one photograph under two identities, and copies alone."""
    features, labels = batch(count=16)
    features[8] = features[0]
    features[1] = features[0]
    assert_finite(*value_and_gradient(create(name), features, labels))
    assert_finite(
        *value_and_gradient(create(name), features[:1].expand(16, -1).contiguous(), labels)
    )


@pytest.mark.parametrize("name", ["arcface", "cosface", "sphere"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_feature_on_its_prototype_or_opposite_has_a_finite_gradient(name, sign):
    """Its cosine is 1 but for rounding, or exactly."""
    labels = torch.arange(CLASSES)
    for prototypes in (create(name).prototypes.detach(), torch.eye(CLASSES, 32)):
        loss = create(name)
        loss.prototypes.data.copy_(prototypes)
        assert_finite(*value_and_gradient(loss, sign * prototypes, labels))
        assert loss.prototypes.grad.isfinite().all()


def test_short_features_have_a_direction_and_near_ones_a_distance():
    features, _ = batch()
    torch.testing.assert_close(unit_length(1e-8 * features), unit_length(features))
    apart = torch.tensor([2e-3, 2e-2, 2e-1])
    torch.testing.assert_close(
        euclidean_distances(1 - apart.square() / 2), apart, rtol=0.02, atol=0
    )


def test_a_feature_of_zeros_is_finite():
    features, labels = batch()
    features[0] = 0
    for name in NAMES:
        value, gradient = value_and_gradient(create(name), features, labels)
        assert_finite(value, gradient)


@pytest.mark.parametrize("identities", [[0, 0, 1], [0, 1, 0]])
def test_a_violation_of_exactly_zero_counts_for_nothing(identities):
    """The positive and the negative are copies, so their distances tie, and the margin is zero."""
    features, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]), torch.tensor(identities)
    loss = losses.create_loss("triplet", mining="all", margin=0.0)
    value, gradient = value_and_gradient(loss, features, labels)
    assert value.item() == pytest.approx(0.8**0.5)  # only the anchor that is itself such a copy
    assert_finite(value, gradient)


def test_focal_of_a_certain_answer_has_a_finite_gradient():
    scores = 100 * torch.eye(CLASSES, 32)
    assert_finite(
        *value_and_gradient(losses.create_loss("focal", gamma=0.5), scores, torch.arange(CLASSES))
    )


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_compiles_without_a_graph_break(name, backend):
    """eager traces the forward pass, and aot_eager the backward pass as well.

    So does the full compiler, but it spends minutes on generating code.
    """
    torch._dynamo.reset()
    loss = create(name)
    features, labels = batch()
    expected = value_and_gradient(deepcopy(loss), features, labels)
    found = value_and_gradient(
        torch.compile(loss, fullgraph=True, backend=backend), features, labels
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_never_waits_for_the_accelerator(name):
    """Fake tensors have shapes and no values.

    To read a number, or to select by a condition, raises.
    """
    with FakeTensorMode():
        value, gradient = value_and_gradient(create(name), *batch())
    assert value.shape == ()
    assert gradient.shape == (24, 32)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: bool(x.any()),
        torch.unique,
    ],
)
def test_fake_tensors_notice_a_wait(wait):
    with (
        FakeTensorMode(),
        pytest.raises((DataDependentOutputException, DynamicOutputShapeException)),
    ):
        wait(torch.ones(4))
