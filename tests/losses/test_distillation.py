"""The losses of --teacher against loops written from the papers."""

import math

import pytest
import torch

from person_reid import losses
from tests.losses.test_values import check

NAMES = [name for name, entry in losses.REGISTRY.items() if entry.loss.needs_teacher]
IMAGES = 7


def in_its_space(student, teacher, weight):
    """Romero et al., FitNets, section 2.2, with the cosine in place of the squared distance."""
    dims = range(student.shape[1])
    means = [sum(row[d] for row in student) / IMAGES for d in dims]
    spreads = [
        (sum((row[d] - means[d]) ** 2 for row in student) / IMAGES + 1e-5).sqrt() for d in dims
    ]
    total = 0.0
    for row, taught in zip(student, teacher, strict=True):
        normal = torch.stack([(row[d] - means[d]) / spreads[d] for d in dims])
        reached = weight @ normal
        total = total + 1 - reached @ taught / (reached.norm() * taught.norm())
    return total / IMAGES


def both(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(IMAGES, 5, generator=generator), torch.randn(IMAGES, 9, generator=generator)


def test_features_are_reached_through_a_layer_that_learns():
    student, teacher = both()
    loss = losses.create_loss("teacher_features", dim=5, taught_dim=9)
    weight = loss.project.weight.detach().double()
    check(
        loss,
        lambda features, taught: in_its_space(features, taught.to(features), weight),
        4 * student + 1,
        teacher,
    )

    normal = (student - student.mean(0)) / student.std(0, correction=0)
    reachable = normal @ torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(loss.parameters(), 0.1)
    assert loss(student, reachable) > 0.1
    for _ in range(300):
        optimizer.zero_grad()
        loss(student, reachable).backward()
        optimizer.step()
    assert loss(student, reachable) < 1e-3


def test_classes_are_those_that_the_teacher_thinks_probable():
    logits, cosines = torch.randn(3, 4), torch.rand(3, 4)
    expected = 0.0
    for i in range(3):
        p = [math.exp(float(c) / 0.1) for c in cosines[i]]
        p = [value / sum(p) for value in p]
        expected += (
            sum(p[c] * (math.log(p[c]) - float(logits[i].log_softmax(0)[c])) for c in range(4)) / 3
        )
    found = losses.create_loss("teacher_classes", temperature=0.1)(logits, cosines)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert (
        losses.create_loss("teacher_classes", temperature=0.1)(cosines / 0.1, cosines).abs() < 1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name):
    with pytest.raises(
        ValueError, match=r"expected .*teacher's \(N, E\), found \(4, 2\) and \(3, 2\)"
    ):
        losses.create_loss(name, dim=2, taught_dim=2)(torch.zeros(4, 2), torch.zeros(3, 2))
