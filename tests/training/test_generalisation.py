"""The divergence against PyTorch's, and what the term draws and teaches."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from person_reid.data.images.bank import BatchSource
from person_reid.distributed import World
from person_reid.training.extra_losses import Generalisation, symmetric_divergence
from person_reid.training.training_images import TrainingImages

CPU = torch.device("cpu")


def whole_images(bank, indices, generator):
    """An augmentation that adds noise to an image of one grey value."""
    images = bank[indices].permute(0, 3, 1, 2).float()
    return images + torch.rand(images.shape, generator=generator) / 2


def term(count=20, size=8):
    bank = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 2, 3)
    return Generalisation(BatchSource(bank, whole_images, CPU), size)


def seed_of(epoch, step, seed=0, rank=0):
    """That of a training, without a training."""
    stand_in: Any = SimpleNamespace(seed=seed, world=World(rank))
    return TrainingImages.seed_of(stand_in, epoch, step)


def test_the_divergence_is_the_mean_of_pytorchs_two():
    first, second = torch.randn(2, 6, 5)
    one, other = first.log_softmax(1), second.log_softmax(1)
    expected = (
        F.kl_div(one, other.exp(), reduction="batchmean")
        + F.kl_div(other, one.exp(), reduction="batchmean")
    ) / 2
    torch.testing.assert_close(symmetric_divergence(first, second), expected)
    assert symmetric_divergence(first, first + 3) == pytest.approx(0, abs=1e-6)


def test_the_divergence_of_a_part_network_is_the_sum_over_its_heads():
    first, second = torch.randn(2, 6, 3, 5)
    expected = sum(
        symmetric_divergence(one, other)
        for one, other in zip(first.unbind(1), second.unbind(1), strict=True)
    )
    torch.testing.assert_close(symmetric_divergence(first, second), expected)


def test_the_divergence_of_certain_predictions_is_finite():
    scores = torch.tensor([[1e4, -1e4], [0.0, 0.0]], requires_grad=True)
    loss = symmetric_divergence(scores, -scores.detach())
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_step_draws_distinct_images_twice_and_every_other_step_seed_and_process_others():
    drawing = term()
    first, second = drawing.draw(seed_of(3, 5))
    again, _ = term().draw(seed_of(3, 5))
    others = [
        drawing.draw(seed)[0]
        for seed in (seed_of(3, 6), seed_of(4, 5), seed_of(3, 5, 1), seed_of(3, 5, 0, 1))
    ]
    numbers = first.mean((1, 2, 3)).floor()
    assert len(numbers.unique()) == 8
    assert torch.equal(numbers, second.mean((1, 2, 3)).floor())
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    noises = [image.frac()[0] for image in (first, second, *others)]
    assert len({noise.sum().item() for noise in noises}) == 6
    for other in others:
        assert not torch.equal(numbers, other.mean((1, 2, 3)).floor())
    seen = (
        torch.cat([drawing.draw(seed_of(0, i))[0].mean((1, 2, 3)).floor() for i in range(40)])
        .long()
        .bincount()
    )
    assert len(seen) == 20
    assert seen.min() > 0
    assert seen.max() < 32


def test_fewer_images_than_a_step_takes_are_drawn_repeatedly():
    assert term(count=3).draw(0)[0].shape == (8, 3, 4, 2)


class Scorer(nn.Module):
    """An image's brightness, weighed into three class scores.

    Its dropout would show training mode.
    """

    def __init__(self, heads):
        super().__init__()
        self.weight, self.heads = nn.Parameter(torch.tensor([0.1, -0.2, 0.3])), heads
        self.dropout = nn.Dropout(0.5)

    def outputs(self, images):
        return self(images)

    def forward(self, images):
        scores = self.dropout(images.mean((1, 2, 3)))[:, None] * self.weight
        return None, scores if self.heads == 1 else torch.stack([scores] * self.heads, 1)


@pytest.mark.parametrize("heads", [1, 3])
def test_the_student_learns_from_the_teacher_and_the_teacher_does_not_learn(heads):
    student, teacher = Scorer(heads).eval(), Scorer(heads).eval()
    with torch.no_grad():
        teacher.weight.mul_(1.5)
    classification = SimpleNamespace(scale=2.0)
    criterion = SimpleNamespace(classification=classification)
    step: Any = SimpleNamespace(network=student, average=None, criterion=criterion)
    batch: Any = SimpleNamespace(seed=seed_of(3, 5))
    features: Any = torch.ones(8, 3)
    assert term()(step, batch, features, None) == 0
    step.average = SimpleNamespace(module=teacher)
    loss: Any = term()(step, batch, None, None)
    first, second = term().draw(seed_of(3, 5))
    torch.testing.assert_close(
        loss, 0.1 * symmetric_divergence(2 * student(first)[1], 2 * teacher(second)[1])
    )
    loss.backward()
    assert teacher.weight.grad is None
    assert student.weight.grad is not None
    assert student.weight.grad.abs().sum() > 0
