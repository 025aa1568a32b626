from typing import Any

import pytest
import torch
from timm.optim import param_groups_layer_decay

from person_reid.config import FitOptions
from person_reid.config.train import OPTIMIZERS, SCHEDULE_NAMES
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.training.build import create_criterion
from person_reid.training.schedule import build_optimizer, build_scheduler
from tests.support.small_training import trained_as

STEPS = 5  # an epoch


class TwoPartNetwork(torch.nn.Module):
    """A backbone, a frozen leftover in it, and a head."""

    head_name = "linear"
    parts = 1
    metric_dim = 2
    num_classes = 3

    def __init__(self):
        super().__init__()
        self.model = torch.nn.ModuleDict(
            {"body": torch.nn.Linear(2, 2), "fc": torch.nn.Linear(2, 2)}
        )
        self.model["fc"].requires_grad_(False)
        self.classifier = torch.nn.Linear(2, 3)


class ConvolutionalNetwork(torch.nn.Module):
    """A convolution for a backbone, a linear layer for a head."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Conv2d(3, 4, 3)
        self.classifier = torch.nn.Linear(4, 2)

    def forward(self, images):
        return self.classifier(self.model(images).mean((2, 3)))


def learning_rates(*flags, resumed_at=None):
    """Learning rates of backbone and head at every step, (steps, 2).

    resumed_at: the step at which they go through the state dicts.
    """
    options = trained_as(*flags, "--weights", "none")
    optimizer, scheduler = new_run(options)
    rates = []
    for step in range(options.total_epoch * STEPS):
        if step == resumed_at:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = new_run(options)
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def new_run(options):
    network: Any = TwoPartNetwork()
    optimizer = build_optimizer(network, create_criterion(options, network), options)
    return optimizer, build_scheduler(optimizer, options, STEPS)


def by_pytorch(make_scheduler, total, by_step=False):
    """The same by a scheduler of PyTorch's.

    It is stepped once an epoch, as the published training does, or once a step.
    """
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.01, 0.1)])
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(total * STEPS if by_step else total):
        rates += [scheduler.get_last_lr()] * (1 if by_step else STEPS)
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize("total", [1, 2, 10, 60])
def test_step_schedule_is_the_published_one(total):
    step = max(1, total * 2 // 3)
    expected = by_pytorch(
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step, 0.1), total
    )
    torch.testing.assert_close(learning_rates("--lr", "0.1", "--total", str(total)), expected)


def test_cosine_schedule_is_the_published_one_and_ends_at_the_same_rate_for_all():
    expected = by_pytorch(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, 12, eta_min=0.01 * 0.1
        ),
        12,
    )
    torch.testing.assert_close(learning_rates("--lr", "0.1", "--total", "12", "--cosine"), expected)


@pytest.mark.parametrize("schedule", ["cosine", "warmup_cosine"])
def test_cosine_schedules_never_raise_a_rate(schedule):
    rates = learning_rates(
        "--lr", "0.05", "--backbone_lr", "1e-4", "--total", "6", "--schedule", schedule
    )
    torch.testing.assert_close(rates[:, 0], torch.full_like(rates[:, 0], 1e-4))
    assert rates[-1, 1] < 0.005


def test_warm_up_rises_from_a_tenth_by_step_and_leaves_the_rest():
    plain = learning_rates("--lr", "0.1", "--total", "6")
    warm = learning_rates("--lr", "0.1", "--total", "6", "--warm", "2")
    ratio = (warm / plain)[:, 1]
    torch.testing.assert_close(
        ratio[: 2 * STEPS], torch.linspace(0.1, 1, 2 * STEPS + 1, dtype=torch.float64)[:-1]
    )
    assert (ratio[2 * STEPS :] == 1).all()


def test_multistep_is_pytorchs_after_a_linear_warm_up():
    flags = ["--lr", "0.1", "--total", "9", "--schedule", "multistep", "--milestones", "4,7"]
    expected = by_pytorch(
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 7]), 9
    )
    torch.testing.assert_close(learning_rates(*flags), expected)
    warm = torch.linspace(0.1, 1, 2 * STEPS + 1, dtype=torch.float64)[:-1, None]
    expected[: 2 * STEPS] *= warm
    torch.testing.assert_close(learning_rates(*flags, "--warm", "2"), expected)


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # of PyTorch's own scheduler, in 2.6
@pytest.mark.parametrize("warm", [0, 1, 3])
def test_warmup_cosine_is_pytorchs_linear_rise_and_one_half_cosine_by_the_step(warm):
    total, schedulers = 8, torch.optim.lr_scheduler

    def sequential(optimizer):
        cosine = schedulers.CosineAnnealingLR(optimizer, (total - warm) * STEPS, eta_min=0.01 * 0.1)
        if not warm:
            return cosine
        rise = schedulers.LinearLR(optimizer, 0.1, total_iters=warm * STEPS)
        return schedulers.SequentialLR(optimizer, [rise, cosine], [warm * STEPS])

    rates = learning_rates(
        "--lr", "0.1", "--total", str(total), "--schedule", "warmup_cosine", "--warm", str(warm)
    )
    torch.testing.assert_close(rates, by_pytorch(sequential, total, by_step=True))
    assert (rates[warm * STEPS :].diff(dim=0) < 0).all()


@pytest.mark.parametrize(("warm", "share"), [(0, 0.3), (2, 0.25)])
def test_one_cycle_is_pytorchs(warm, share):
    def one_cycle(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [0.01, 0.1], total_steps=8 * STEPS, pct_start=share, cycle_momentum=False
        )

    rates = learning_rates(
        "--lr", "0.1", "--total", "8", "--schedule", "one_cycle", "--warm", str(warm)
    )
    torch.testing.assert_close(rates[:-1], by_pytorch(one_cycle, 8, by_step=True)[: 8 * STEPS - 1])


@pytest.mark.parametrize(("epochs", "warm"), [(1, 0), (2, 0), (2, 2)])
@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
def test_a_schedule_of_few_steps_stays_finite(schedule, epochs, warm):
    rates = learning_rates("--total", str(epochs), "--schedule", schedule, "--warm", str(warm))
    assert rates.isfinite().all()
    assert (rates > 0).all()
    assert rates.max() <= 0.05


@pytest.mark.parametrize("schedule", SCHEDULE_NAMES)
def test_a_resumed_schedule_goes_on_to_the_digit(schedule):
    flags = ["--schedule", schedule, "--total", "6", "--warm", "2"]
    flags += ["--milestones", "3,5"] if schedule == "multistep" else []
    whole = learning_rates(*flags)
    assert all(
        torch.equal(learning_rates(*flags, resumed_at=step), whole)
        for step in (1, 2 * STEPS, 4 * STEPS + 3)
    )


def test_cosine_is_an_alias_and_two_schedules_at_once_are_refused():
    assert (
        trained_as("--cosine").schedule
        == trained_as("--cosine", "--schedule", "cosine").schedule
        == "cosine"
    )
    assert trained_as().schedule == "step"
    with pytest.raises(UserError, match="schedule=step and cosine exclude each other"):
        trained_as("--cosine", "--schedule", "step")


@pytest.mark.parametrize("text", ["4,,7", "4,", "0", "7,4", "4,4", "0,4", "forty"])
def test_milestones_that_are_no_ascending_epochs_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        trained_as("--schedule", "multistep", f"--milestones={text}")
    assert f"--milestones: {text}: expected epochs in ascending order" in capsys.readouterr().err


def test_milestones_of_another_schedule_are_refused():
    with pytest.raises(UserError, match="milestones=5 would be ignored without schedule=multistep"):
        trained_as("--milestones", "5")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_backbone_head_and_prototypes_learn_at_rates_of_their_own_and_frozen_weights_nowhere(
    optimizer,
):
    flags = ["--arcface", "--lr", "0.1", "--prototype_lr", "0.3", "--optimizer", optimizer]
    options = trained_as(*flags)
    network: Any = TwoPartNetwork()
    criterion = create_criterion(options, network)
    groups = build_optimizer(network, criterion, options).param_groups
    expected = {
        "backbone": (0.1 * 0.1, network.model["body"]),
        "head": (0.1, network.classifier),
        "prototypes": (0.3, criterion),
    }
    assert [group["name"] for group in groups] == list(expected)
    for group in groups:
        rate, owner = expected[group["name"]]
        assert group["lr"] == pytest.approx(rate)
        assert group["weight_decay"] == 5e-4
        assert [id(p) for p in group["params"]] == [id(p) for p in owner.parameters()]
    assert trained_as("--lr", "0.2").learning_rates[2] == 0.2


def test_the_optimisers_are_pytorchs():
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "amsgrad": torch.optim.Adam,
        "rmsprop": torch.optim.RMSprop, "radam": torch.optim.RAdam, "adamw": torch.optim.AdamW,
    }  # fmt: skip
    assert set(kinds) == set(OPTIMIZERS)
    for name, kind in kinds.items():
        optimizer, _ = new_run(trained_as("--optimizer", name))
        assert type(optimizer) is kind
        # RAdam and RMSprop have no such kernel.
        assert optimizer.defaults.get("fused", False) == (name not in ("radam", "rmsprop"))
        assert optimizer.defaults.get("amsgrad", False) == (name == "amsgrad")
        assert optimizer.defaults.get("decoupled_weight_decay", name == "adamw") == (
            name in ("radam", "adamw")
        )
        assert optimizer.defaults.get("momentum") == (0.9 if name in ("sgd", "rmsprop") else None)
        assert len(optimizer.param_groups) == 2  # no loss owns a weight
        assert optimizer.defaults.get("betas", (0.9, 0.999)) == (0.9, 0.999)
    sgd, _ = new_run(trained_as())
    assert sgd.defaults["nesterov"]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "amsgrad"])
def test_the_fused_kernels_update_weights_of_any_memory_order_as_the_plain_ones_do(name):
    runs = []
    for plain in (False, True):
        torch.manual_seed(0)
        options = trained_as("--optimizer", name, "--lr", "0.01")
        network = ConvolutionalNetwork().to(memory_format=torch.channels_last)
        optimizer = build_optimizer(network, torch.nn.Module(), options)
        if plain:
            for group in optimizer.param_groups:
                group["fused"] = False
        for _ in range(3):
            network(
                torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
            ).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append(torch.cat([parameter.flatten() for parameter in network.parameters()]))
    torch.testing.assert_close(*runs, rtol=1e-6, atol=1e-7)


def test_the_rate_of_a_transformer_decays_from_layer_to_layer():
    """As timm's own optimisers have it, whose layers these are."""
    network = create_model("vit_tiny_patch16_224", 3, size=(64, 32))
    options = trained_as("--layer_decay", "0.5", "--weights", "none")
    optimizer = build_optimizer(network, create_criterion(options, network), options)
    rate_of = {
        weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]
    }
    for group in param_groups_layer_decay(network.model, layer_decay=0.5):
        for weight in group["params"]:
            assert rate_of[weight] == pytest.approx(options.learning_rates[0] * group["lr_scale"])
    assert rate_of[network.model.patch_embed.proj.weight] < rate_of[network.model.norm.weight]
    assert {rate_of[weight] for weight in network.classifier.parameters()} == {options.lr}
    names = [group["name"] for group in optimizer.param_groups]
    assert names == ["backbone"] * 13 + ["head"]


def test_norms_and_biases_have_no_weight_decay_on_request():
    network, criterion = create_model("resnet18", 4, weights="none"), torch.nn.Module()
    options = FitOptions(no_decay_1d=True)
    groups = build_optimizer(network, criterion, options).param_groups
    decays = {(group["name"], group["weight_decay"]) for group in groups}
    assert decays == {(name, decay) for name in ("backbone", "head") for decay in (0.0, 5e-4)}
    for group in groups:
        assert {weight.ndim < 2 for weight in group["params"]} == {group["weight_decay"] == 0}
    plain = build_optimizer(network, criterion, FitOptions()).param_groups
    assert sum(len(g["params"]) for g in groups) == sum(len(g["params"]) for g in plain)
