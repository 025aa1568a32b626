import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from torchvision.transforms.functional import resize

from person_reid import losses
from person_reid.config.forms import image_sizes
from person_reid.data.images.augment import normalise
from person_reid.training.build import create_criterion
from person_reid.training.training_run import Journal
from person_reid.training.validation import statistics_of_average, validate
from tests.support.runs import equal_weights
from tests.support.small_training import (
    IDENTITIES,
    SIZE,
    run,
    small_data,
    trained_as,
    trainer,
)


def test_training_learns():
    trained = run(trainer(total=25))
    assert trained.history[-1]["loss"] < 0.7 * trained.history[0]["loss"]
    validated = validate(trained.step)
    assert validated["val_error"] <= 0.3
    assert math.isfinite(validated["val_loss"])


def test_validation_is_plain_cross_entropy_over_every_image_of_a_partial_last_batch():
    trained = trainer("--batchsize", "7", "--label_smoothing", "0.2")
    bank, targets = small_data()
    validated = validate(trained.step)
    with torch.inference_mode():
        _, logits = trained.network.eval().outputs(normalise(bank))
    expected = torch.nn.functional.cross_entropy(logits, targets).item()
    assert validated["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert validated["val_error"] == pytest.approx(
        (logits.argmax(1) != targets).float().mean().item()
    )
    trained.train_epoch()
    assert trained.criterion.training
    assert trained.network.training


def test_the_same_seed_gives_the_same_network_and_another_another():
    flags = ["--erasing_p", "0.5", "--color_jitter"]
    first, second, other = (
        run(trainer(*flags, *seed, total=1)) for seed in ([], [], ["--seed", "1"])
    )
    assert equal_weights(first.network.state_dict(), second.network.state_dict())
    assert first.history[0]["loss"] == second.history[0]["loss"] != other.history[0]["loss"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--erasing_p", "0.5"],
        ["--wa", "--cosine"],
        ["--wa", "--loss", "center"],
        ["--fp16"],
        ["--arcface", "--warm", "1"],
        ["--freeze_epochs", "1", "--schedule", "warmup_cosine", "--warm", "1"],
        [
            "--height",
            "32",
            "--width",
            "16",
            "--resize_schedule",
            "16x16:1,32x16",
            "--schedule",
            "one_cycle",
        ],
        [
            "--freeze_epochs",
            "2",
            "--optimizer",
            "adamw",
            "--lr",
            "1e-3",
            "--arcface",
            "--prototype_lr",
            "0.1",
        ],
    ],
)
def test_a_resumed_run_ends_with_the_same_weights(flags, tmp_path):
    """Stopped after every epoch, through a file, each time into a new trainer."""
    whole = run(trainer(*flags))
    state = None
    for _ in range(3):
        part = trainer(*flags)
        if state:
            part.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
        part.train_epoch()
        state = part.state_dict()
        torch.save(state, tmp_path / "state.pth")
    assert equal_weights(whole.network.state_dict(), part.network.state_dict())
    assert equal_weights(whole.criterion.state_dict(), part.criterion.state_dict())
    assert [record["loss"] for record in part.history] == [
        record["loss"] for record in whole.history
    ]
    if "--wa" in flags:
        assert equal_weights(whole.step.average.state_dict(), part.step.average.state_dict())
        assert equal_weights(
            whole.step.average_criterion.state_dict(), part.step.average_criterion.state_dict()
        )


def test_a_resumed_run_scales_its_loss_as_before():
    whole, resumed = trainer("--fp16"), trainer("--fp16")
    whole.train_epoch()
    whole.step.scaler.update(8.0)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert resumed.step.scaler.get_scale() == 8


def test_weight_averaging_is_the_exponential_mean_from_the_last_fifth_on():
    trained = trainer("--wa", "--arcface", total=5)
    expected: dict = {}
    step = trained.step

    def averaging_step(batch):
        result = step(batch)
        owned = trained.criterion.named_parameters(prefix="criterion")
        weights = copy.deepcopy(dict([*trained.network.named_parameters(), *owned]))
        if batch.epoch >= 4:
            for name, value in weights.items():
                before = expected.get(name, value.data)
                expected[name] = 0.996 * before + 0.004 * value.data
        return result

    trained.step = averaging_step
    run(trained)
    trained.step = step
    # The average is the teacher of --DG.
    assert not any(module.training for module in trained.step.average.modules())
    averaged = trained.step.average.module.state_dict()
    prototypes = trained.step.average_criterion.module.state_dict()
    assert prototypes
    averaged |= {f"criterion.{name}": value for name, value in prototypes.items()}
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value)
    assert all(
        torch.equal(averaged[name], value) for name, value in trained.network.named_buffers()
    )
    running = "model.conv1.1.running_mean"
    before = averaged[running].clone()
    assert not torch.equal(statistics_of_average(trained.step)[f"module.{running}"], before)


@pytest.mark.parametrize(("total", "first"), [(2, 1), (7, 5), (60, 48)])
def test_weight_averaging_begins_with_the_epoch_in_which_four_fifths_are_over(total, first):
    trained = trainer("--wa", total=total)
    trained.step(next(trained.images.epoch(first - 1)))
    assert trained.step.average is None
    trained.step(next(trained.images.epoch(first)))
    assert trained.step.average is not None


@pytest.mark.parametrize("flag", losses.PUBLISHED_LOSSES)
def test_every_published_loss_is_added_to_cross_entropy_and_trains_what_it_owns(flag):
    trained = trainer(f"--{flag}")
    features, logits = 1 + 0.5 * torch.randn(8, 16), torch.randn(8, IDENTITIES)
    labels = torch.arange(8) % IDENTITIES
    metric_loss = losses.published_loss(flag, IDENTITIES, 16)
    metric_loss.loss.load_state_dict(trained.criterion.added[flag][0].state_dict())
    plain = torch.nn.functional.cross_entropy(logits, labels)
    expected = torch.stack([plain, metric_loss(features, labels)])
    torch.testing.assert_close(trained.criterion(features, logits, labels), expected)
    assert metric_loss(features, labels) > 1e-3
    owned = copy.deepcopy(trained.criterion.state_dict())
    loss = trained.step(next(trained.images.epoch(0))).loss
    assert torch.isfinite(loss)
    assert all(
        not torch.equal(owned[name], value)
        for name, value in trained.criterion.state_dict().items()
    )


@pytest.mark.parametrize("flag", ["instance", "instance_id"])
def test_ins_gamma_is_the_scale_of_the_instance_losses(flag):
    features, labels = torch.randn(8, 16), torch.arange(8) % IDENTITIES
    mild, sharp = (
        trainer(f"--{flag}", "--ins_gamma", gamma).criterion.added[flag][0] for gamma in ("1", "64")
    )
    torch.testing.assert_close(
        sharp(features, labels), losses.create_loss(flag, gamma=64.0)(features, labels)
    )
    assert mild(features, labels) != sharp(features, labels)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("precision", ["--fp16", "--bf16"])
def test_half_precision_trains_to_nearly_the_same_loss(precision):
    """Half precision has nearly the loss of single precision.

    In bfloat16, PyTorch 2.14 leaves parts of the gradient of a ResNet's convolution from 2×1 to 1×1
    unwritten.
    """
    slowly = ["--lr", "0.005", "--backbone_lr", "0.005"]  # steps at a high rate amplify rounding
    several = ([*slowly, *flags] for flags in ([], [precision]))
    exact, half = (
        run(trainer(*flags, total=1, backbone="osnet_x0_25")).history[0] for flags in several
    )
    assert half["loss"] == pytest.approx(exact["loss"], rel=0.02)
    assert half["loss"] != exact["loss"]


def test_label_smoothing_is_that_of_the_paper():
    trained = trainer("--label_smoothing", "0.1")
    logits, labels = torch.randn(6, IDENTITIES), torch.randint(0, IDENTITIES, (6,))
    smoothed = torch.full((6, IDENTITIES), 0.1 / IDENTITIES)
    smoothed[torch.arange(6), labels] += 0.9
    expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    found = trained.criterion(torch.randn(6, 16), logits, labels)
    torch.testing.assert_close(found.sum(), expected)


def test_a_bank_that_stays_on_the_host_gives_the_same_batches():
    """Batches of a data set too large for the accelerator are gathered on the host, then moved."""
    flags = ["--erasing_p", "1"]
    here, apart = trainer(*flags), trainer(*flags)
    apart.images.source.bank_is_here = False
    for first, second in zip(here.images.epoch(0), apart.images.epoch(0), strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_images_are_scaled_to_the_size_of_their_epoch():
    flags = ["--height", "32", "--width", "16", "--resize_schedule", "16x16:2,32x16"]
    scaled, plain = trainer(*flags), trainer()
    for epoch in (0, 1):
        expected = resize(next(plain.images.epoch(epoch))[0], [16, 16], antialias=True)
        torch.testing.assert_close(next(scaled.images.epoch(epoch))[0], expected)
    assert torch.equal(next(scaled.images.epoch(2))[0], next(plain.images.epoch(2))[0])
    assert run(scaled).history[-1]["loss"] < scaled.history[0]["loss"]


def test_validation_images_have_the_size_that_was_trained_last():
    trained = trainer("--height", "32", "--width", "16", "--resize_schedule", "16x16:2,32x16")
    bank, targets = small_data()
    for size in ((16, 16), (16, 16), (32, 16)):
        trained.train_epoch()
        with torch.inference_mode():
            _, logits = trained.network.eval().outputs(
                resize(normalise(bank), size, antialias=True)
            )
        expected = torch.nn.functional.cross_entropy(logits, targets).item()
        assert validate(trained.step)["val_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("sizes", "firsts"),
    [
        ("16x16,32x16", [0, 5]),
        ("16x16,24x16,32x16", [0, 3, 6]),
        ("16x16:1,24x16:7,32x16", [0, 1, 8]),
        ("32x16", [0]),
    ],
)
def test_sizes_share_the_epochs_or_say_how_many_they_take(sizes, firsts):
    assert [first for first, _ in image_sizes(sizes, 10)] == firsts


@pytest.mark.parametrize("accumulated", ["1", "2"])
def test_the_learning_rate_follows_the_schedule(accumulated):
    trained = run(trainer("--cosine", "--accumulate", accumulated, total=4))
    expected = [
        0.01 * 0.05 + 0.99 * 0.05 * (1 + math.cos(math.pi * epoch / 4)) / 2
        for epoch in (0, 1, 2, 3)
    ]
    assert [record["lr"] for record in trained.history] == pytest.approx(expected)


def test_every_epoch_augments_the_same_image_differently():
    trained = trainer()
    one = {"batches": lambda self, epoch: iter([torch.zeros(8, dtype=torch.long)])}
    trained.images.sampler = type("OneBatch", (), one)()
    first, again, second = (next(trained.images.epoch(epoch))[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_while_the_backbone_is_frozen_only_the_rest_learns(optimizer):
    """Neither weight decay, momentum nor batch norms move the backbone.

    The schedule goes on, and then everything learns.
    """
    trained, free = (
        trainer("--optimizer", optimizer, "--arcface", *flags) for flags in (["--freeze", "2"], [])
    )
    before = copy.deepcopy(trained.network.state_dict())
    untrained = copy.deepcopy(trained.criterion.state_dict())
    trained.train_epoch()
    trained.train_epoch()
    assert not trained.network.model.training
    assert trained.network.training
    assert trained.network.classifier.training
    moved = {
        name
        for name, value in trained.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved
    assert all(name.startswith("classifier.") for name in moved)
    assert not any(
        parameter.requires_grad for parameter in trained.step.optimizer.param_groups[0]["params"]
    )
    assert [
        torch.equal(weight, untrained[name])
        for name, weight in trained.criterion.named_parameters()
    ] == [False]
    trained.train_epoch()
    assert all(module.training for module in trained.network.modules())
    moved = {
        name
        for name, value in trained.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {name.split(".")[0] for name in moved} == {"model", "classifier"}
    free.train_epoch()
    free.train_epoch()
    assert free.train_epoch()["lr"] == pytest.approx(trained.step.scheduler.get_last_lr()[1])


def test_the_attention_of_usam_is_frozen_with_the_backbone():
    trained = trainer("--usam", "--freeze", "1", total=2, backbone="resnet18")
    before = copy.deepcopy(trained.network.state_dict())
    trained.train_epoch()
    moved = {
        name
        for name, value in trained.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved
    assert all(name.startswith("classifier.") for name in moved)
    trained.step(next(trained.images.epoch(1)))
    assert trained.network.usam_1.training
    assert trained.network.usam_2.training


def test_terms_are_added_to_the_loss_with_the_step_of_the_epoch():
    plain, extended = trainer(total=1), trainer(total=1)
    steps = []

    def added(step, batch, features, logits):
        seen = tuple(batch.images.shape), tuple(batch.targets.shape)
        steps.append((step.network is extended.network, *seen, batch.step))
        return features.new_tensor(2.0 if batch.step else 0.5)

    own: list[Any] = [partial(added) for _ in range(2)]
    own[0].names, own[1].names = ["first"], ["second"]
    extended.step.extra = own
    extended.journal = Journal(extended.step, 1)
    losses_of = [trained.train_epoch()["loss"] for trained in (plain, extended)]
    assert steps == [(True, (8, 3, *SIZE), (8,), step) for step in (0, 0, 1, 1, 2, 2)]
    assert losses_of[1] == pytest.approx(losses_of[0] + 2 * (0.5 + 2 + 2) / 3, rel=1e-5)
    assert equal_weights(plain.network.state_dict(), extended.network.state_dict())


def test_the_log_has_the_rate_of_the_head():
    trained = trainer("--arcface", "--prototype_lr", "0.7", "--lr", "0.03", total=1)
    assert trained.train_epoch()["lr"] == pytest.approx(0.03)


def test_validating_within_an_epoch_changes_no_later_step():
    plain, validated = (trainer("--droprate", "0.5") for _ in range(2))
    for trained in (plain, validated):
        trained.step.begin_epoch(0)
        for batch in trained.images.epoch(0):
            trained.step(batch)
            if trained is validated:
                validate(trained.step)
                assert trained.network.training
                assert trained.criterion.training
    assert equal_weights(plain.network.state_dict(), validated.network.state_dict())


def test_a_loop_that_begins_no_epoch_trains_as_one_that_does():
    told, untold = (trainer("--freeze_epochs", "1") for _ in range(2))
    told.step.begin_epoch(0)
    for trained in (told, untold):
        for batch in trained.images.epoch(0):
            trained.step(batch)
    assert equal_weights(told.network.state_dict(), untold.network.state_dict())


def test_a_criterion_changes_nothing_for_the_next_one_on_the_same_network():
    trained, images = trainer(), torch.randn(8, 3, *SIZE)

    def seen(*flags):
        criterion = create_criterion(trained_as(*flags, "--weights", "none"), trained.network)
        torch.manual_seed(0)
        return trained.network.train().outputs(images, criterion.seen)[0]

    before = seen("--triplet")
    whole = seen("--alpha", "1")
    after = seen("--triplet")
    assert (before == 0).any()
    assert not (whole == 0).any()
    assert torch.equal(before, after)


@pytest.mark.parametrize("flags", [[], ["--accumulate", "2"]])
def test_a_gradient_is_clipped_to_its_largest_norm(flags):
    trained = trainer(*flags, "--clip_grad", "1e-3")
    trained.step.begin_epoch(0)
    norms = []

    def note(optimizer, *_):
        grads = [weight.grad for group in optimizer.param_groups for weight in group["params"]]
        norms.append(torch.cat([grad.flatten() for grad in grads if grad is not None]).norm())

    trained.step.optimizer.register_step_pre_hook(note)
    for batch in trained.images.epoch(0):
        trained.step(batch)
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-3)
    assert norms


def test_a_large_norm_clips_nothing():
    plain, clipped = run(trainer(total=1)), run(trainer("--clip_grad", "1e6", total=1))
    assert equal_weights(plain.network.state_dict(), clipped.network.state_dict())
