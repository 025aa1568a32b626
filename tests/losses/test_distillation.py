"""The losses of --teacher against loops written from the papers."""

import math

import pytest
import torch

from person_reid import losses
from tests.losses.test_values import check

NAMES = [name for name, entry in losses.REGISTRY.items() if entry.loss.needs_teacher]
IMAGES = 7


def huber(x):
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5


def distances(features):
    """{(i, j): the distance of two images, by the mean over all pairs}."""
    pairs = {
        (i, j): (features[i] - features[j]).norm()
        for i in range(IMAGES)
        for j in range(IMAGES)
        if i != j
    }
    mean = sum(pairs.values()) / len(pairs)
    return {pair: distance / mean for pair, distance in pairs.items()}


def angles(features):
    """{(i, j, k): the cosine of the angle at i}."""
    direction = {
        (i, j): torch.nn.functional.normalize(features[j] - features[i], dim=0)
        for i in range(IMAGES)
        for j in range(IMAGES)
    }
    return {
        (i, j, k): direction[i, j] @ direction[i, k] for i, j in direction for k in range(IMAGES)
    }


def relations(student, teacher, angle_weight=2.0):
    """The loss of Park et al., equations 5 to 9.

    The pair of an image with itself adds nothing to the sum and counts in the mean.
    """
    total = 0.0
    for function, weight, size in ((distances, 1, IMAGES**2), (angles, angle_weight, IMAGES**3)):
        ours, theirs = function(student), function(teacher)
        total = total + weight * sum(huber(ours[key] - theirs[key]) for key in ours) / size
    return total


def similarity(student, teacher):
    """Tung and Mori, equation 4."""
    rows = [[torch.stack([a @ b for b in each]) for a in each] for each in (student, teacher)]
    ours, theirs = (torch.stack([row / row.norm() for row in each]) for each in rows)
    return (
        sum((a - b) ** 2 for a, b in zip(ours.flatten(), theirs.flatten(), strict=True)) / IMAGES**2
    )


def neighbours(student, teacher, temperature=0.05):
    """Koohpayegani et al., equations 1 and 2, with the batch as anchors."""
    total = 0.0
    for i in range(IMAGES):
        others = [j for j in range(IMAGES) if j != i]
        p, q = (
            torch.stack([each[i] @ each[j] for j in others]).div(temperature).softmax(0)
            for each in (teacher, student)
        )
        total = total + sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
    return total / IMAGES


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


SLOW = {
    "teacher_relations": relations,
    "teacher_similarity": similarity,
    "teacher_neighbours": neighbours,
}


def both(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(IMAGES, 5, generator=generator), torch.randn(IMAGES, 9, generator=generator)


@pytest.mark.parametrize("name, settings", [
    ("teacher_relations", {}), ("teacher_relations", {"angle_weight": 0.0}),
    ("teacher_similarity", {}), ("teacher_neighbours", {}),
    ("teacher_neighbours", {"temperature": 0.5}),
])  # fmt: skip
def test_value_and_gradient_are_those_of_the_paper(name, settings):
    student, teacher = both()

    def slow(features, taught):
        unit = torch.nn.functional.normalize
        return SLOW[name](unit(features), unit(taught.to(features)), **settings)

    check(losses.create_loss(name, **settings), slow, student, teacher)


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


@pytest.mark.parametrize("name", SLOW)
def test_a_student_that_has_learnt_everything_has_no_loss(name):
    """Its features may be rotated, and in more dimensions."""
    _, teacher = both()
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0][
        :9
    ]
    assert losses.create_loss(name)(3 * teacher @ rotation, teacher).abs() < 1e-5
    assert losses.create_loss(name)(torch.randn(IMAGES, 9), teacher) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name):
    with pytest.raises(
        ValueError, match=r"expected .*teacher's \(N, E\), found \(4, 2\) and \(3, 2\)"
    ):
        losses.create_loss(name, dim=2, taught_dim=2)(torch.zeros(4, 2), torch.zeros(3, 2))
