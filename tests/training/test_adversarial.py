"""The attack against a slow loop from its formula, and what it must leave alone."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from person_reid.data.images.augment import MEAN, STD, normalise
from person_reid.device import autocast
from person_reid.models.factory import create_model
from person_reid.training.extra_losses import Adversarial, opposite_direction_attack
from person_reid.training.training_images import Batch

CPU = torch.device("cpu")


class SmallNetwork(nn.Module):
    """Two convolutions with a batch norm of unusual statistics, and a head with dropout."""

    def __init__(self, droprate=0.5):
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(16)
        norm.load_state_dict(
            {"running_mean": torch.rand(16) - 0.5, "running_var": torch.rand(16) + 0.5},
            strict=False,
        )
        first, second = nn.Conv2d(3, 16, 5, stride=2, bias=False), nn.Conv2d(16, 32, 3)
        self.model = nn.Sequential(
            first, norm, nn.Tanh(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.add_block = nn.Sequential(nn.Linear(32, 16), nn.Dropout(droprate))
        self.classifier = nn.Linear(16, 5)

    def embed(self, images):
        return self.add_block(self.model(images))

    def forward(self, images):
        features = self.embed(images)
        return features, self.classifier(features)


def photographs(height=32, width=16):
    pixels = torch.randint(
        0, 256, (4, height, width, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    pixels[0, :4] = 0
    pixels[1, :4] = 255
    return normalise(pixels)


def gradient_size(parameter):
    return parameter.grad.abs().sum()


def grey(images):
    """Normalised images as grey values, 0 to 255."""
    return 255 * (images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1))


def by_loop(built, image, rate):
    """The attacked image, one image at a time, in grey values.

    It is x − d, where d is the sign of the gradient of cos(f(x − d), f(x)).
    At d = 0 that has no sign, and the first step descends cos(f(x − d), f(x)) · ‖f(x − d)‖.
    """
    mean, deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    start, moved = grey(image), grey(image)
    distance = torch.zeros_like(start)
    target = built.embed(((start / 255 - mean) / deviation)[None]).detach()
    for step in range(round(min(1.25 * rate, rate + 4))):
        moved.requires_grad_()
        feature = built.embed(((moved / 255 - mean) / deviation)[None])
        length = feature.square().sum().sqrt() if step else 1
        similarity = (feature * target).sum() / length
        similarity.backward()
        distance = torch.clamp(distance + moved.grad.sign(), -rate, rate)
        moved = torch.clamp(start - distance, 0, 255).detach()
    return moved


def test_the_attack_is_that_of_the_formula():
    built, images = SmallNetwork(), photographs()
    attacked = grey(opposite_direction_attack(built, images, rate=3).detach())
    expected = torch.stack([by_loop(built.eval(), image, 3) for image in images])
    same = (attacked - expected).abs() < 0.01  # a sign of a gradient near zero may be the other
    assert same.float().mean() > 0.99


@pytest.mark.parametrize(("backbone", "size"), [("test_resnet", (32, 16)), (None, (41, 24))])
def test_features_turn_away_and_pixels_stay_valid_and_near(backbone, size):
    built = create_model(backbone, 5, linear_num=16, weights="none") if backbone else SmallNetwork()
    images = photographs(*size)
    built(images)  # statistics of a batch
    before = images.clone()
    attacked = opposite_direction_attack(built, images)
    assert torch.equal(images, before)
    assert not attacked.requires_grad
    assert not images.requires_grad
    values, moved = grey(attacked), (grey(attacked) - grey(images)).abs()
    assert values.min() > -0.01
    assert values.max() < 255.01
    assert moved.max() == pytest.approx(16, abs=0.01)
    assert moved.mean() > 4
    random = images + (torch.rand_like(images) < 0.5).mul(2).sub(1) * 16 / 255 / 0.226
    built.eval()
    with torch.no_grad():
        feature, turned, shaken = (built.embed(x) for x in (images, attacked, random))
    assert ((turned * feature).sum(1) < 0.9 * (shaken * feature).sum(1)).all()


class RectifiedNetwork(SmallNetwork):
    """Its features have no negative numbers, as those of a ResNet or an OSNet without a neck."""

    def embed(self, images):
        return super().embed(images).relu()


def by_inner_product(built, images):
    """The attack that descends f(x − d) · f(x) at each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("person_reid.training.extra_losses.unit_length", lambda features: features)
        return opposite_direction_attack(built, images)


def test_features_without_negative_numbers_are_turned_and_not_shortened():
    built, images = RectifiedNetwork(droprate=0).eval(), photographs()
    attacks = [attack(built, images) for attack in (opposite_direction_attack, by_inner_product)]
    with torch.no_grad():
        feature = built.embed(images)
        turned, shortened = (
            torch.cosine_similarity(built.embed(attacked), feature) for attacked in attacks
        )
        lengths = [built.embed(attacked).norm(dim=1) for attacked in attacks]
    assert (turned < shortened).all()
    assert (lengths[0] > lengths[1]).all()


def test_the_attack_changes_nothing_of_the_network():
    built = SmallNetwork()
    built.model[1].eval()  # as a frozen part
    built.model[3].requires_grad_(False)
    modes = {name: module.training for name, module in built.named_modules()}
    nn.functional.cross_entropy(built(photographs())[1], torch.arange(4)).backward()
    gradients: dict = {
        name: copy.deepcopy(parameter.grad) for name, parameter in built.named_parameters()
    }
    state = copy.deepcopy(built.state_dict())
    opposite_direction_attack(built, photographs())
    assert {name: module.training for name, module in built.named_modules()} == modes
    assert all(torch.equal(state[name], value) for name, value in built.state_dict().items())
    for name, parameter in built.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None), name
        assert parameter.grad is None or torch.equal(parameter.grad, gradients[name]), name


def test_without_dropout_an_image_is_attacked_the_same_in_any_batch():
    built, images = SmallNetwork(droprate=0.9), photographs()
    together = opposite_direction_attack(built, images, rate=3)
    alone = opposite_direction_attack(built, images[2:3], rate=3)
    assert torch.isclose(together[2:3], alone, atol=1e-4).float().mean() > 0.99


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_inside_autocast_weights_still_learn(dtype):
    """The forward pass, the attack and the pass over attacked images share cached weights.

    The first has a gradient; autocast caches the weights.
    """
    built, images = SmallNetwork(), photographs()
    with autocast(CPU, dtype):
        loss = nn.functional.cross_entropy(built(images)[1].float(), torch.arange(4))
        attacked = opposite_direction_attack(built, images)
        loss = loss + nn.functional.cross_entropy(built(attacked)[1].float(), torch.arange(4))
    loss.backward()
    assert attacked.dtype == torch.float32
    assert attacked.isfinite().all()
    learnt = torch.stack([gradient_size(parameter) for parameter in built.parameters()])
    assert learnt.isfinite().all()
    assert (learnt > 0).all()
    exact = opposite_direction_attack(built, images)
    assert ((exact - images).sign() == (attacked - images).sign()).float().mean() > 0.6


class PartNetwork(nn.Module):
    """Two stripes, each with a feature and a classifier of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Conv2d(3, 8, 3)
        self.heads = nn.ModuleList(nn.Linear(8, 5) for _ in range(2))

    def embed(self, images):
        return self.parts(images).flatten(1)

    def parts(self, images):
        return nn.functional.adaptive_avg_pool2d(self.model(images).tanh(), (2, 1))[..., 0].mT

    def forward(self, images):
        parts = self.parts(images)
        return parts, torch.stack(
            [head(part) for head, part in zip(self.heads, parts.unbind(1), strict=True)], 1
        )


class Recorder:
    """The parts of a training that a term sees."""

    def __init__(self, built):
        self.network, self.criterion = built, self

    def classify(self, logits, targets):
        self.logits = logits.detach()
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.repeat_interleave(logits.shape[1])
        )


@pytest.mark.parametrize(("every", "attacked_steps"), [(3, [0, 3, 6]), (2.5, [0, 5])])
def test_the_term_weighs_the_loss_on_attacked_images_every_so_many_batches(every, attacked_steps):
    trainer: Any = Recorder(PartNetwork())
    images, targets = photographs(), torch.arange(4)
    batches = [Batch(images, targets, targets, epoch=0, step=step, seed=0) for step in range(7)]
    values: Any = [Adversarial(0.25, every)(trainer, batch, images, images) for batch in batches]
    assert [step for step, value in enumerate(values) if value] == attacked_steps
    attacked = opposite_direction_attack(trainer.network, images)
    assert torch.equal(trainer.logits, trainer.network(attacked)[1].detach())
    expected = trainer.classify(trainer.network(attacked)[1], targets)
    torch.testing.assert_close(values[0], 0.25 * expected)
    values[0].backward()
    assert gradient_size(trainer.network.model.weight) > 0
