import pytest
import torch

from reid.options import parse_train
from reid.training.criterion import Criterion
from reid.training.schedule import build_optimizer, build_scheduler

STEPS = 5  # an epoch


class TwoPartNetwork(torch.nn.Module):
    """A backbone, a frozen leftover in it, and a head."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.ModuleDict({"body": torch.nn.Linear(2, 2), "fc": torch.nn.Linear(2, 2)})
        self.model["fc"].requires_grad_(False)
        self.classifier = torch.nn.Linear(2, 3)


def learning_rates(*flags):
    """Learning rates of backbone and head at every step, (steps, 2)."""
    options = parse_train([*flags, "--weights", "none"])
    network = TwoPartNetwork()
    optimizer = build_optimizer(network, Criterion(options, 3, 2), options)
    scheduler = build_scheduler(optimizer, options, STEPS)
    rates = []
    for _ in range(options.total_epoch * STEPS):
        rates.append(scheduler.get_last_lr())
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def by_pytorch(make_scheduler, total):
    """The same, by a scheduler of PyTorch's stepped once an epoch, as the published training does."""
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.01, 0.1)])
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(total):
        rates += [scheduler.get_last_lr()] * STEPS
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize("total", [1, 2, 10, 60])
def test_step_schedule_is_the_published_one(total):
    step = max(1, total * 2 // 3)
    expected = by_pytorch(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step, 0.1), total)
    torch.testing.assert_close(learning_rates("--lr", "0.1", "--total", str(total)), expected)


def test_cosine_schedule_is_the_published_one_and_ends_at_the_same_rate_for_all():
    expected = by_pytorch(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12, eta_min=0.01 * 0.1), 12
    )
    torch.testing.assert_close(learning_rates("--lr", "0.1", "--total", "12", "--cosine"), expected)


def test_warm_up_rises_from_a_tenth_by_step_and_leaves_the_rest():
    plain = learning_rates("--lr", "0.1", "--total", "6")
    warm = learning_rates("--lr", "0.1", "--total", "6", "--warm", "2")
    ratio = (warm / plain)[:, 1]
    torch.testing.assert_close(ratio[: 2 * STEPS], torch.linspace(0.1, 1, 2 * STEPS + 1, dtype=torch.float64)[:-1])
    assert (ratio[2 * STEPS :] == 1).all()


def test_prototypes_learn_with_the_head_and_frozen_weights_nowhere():
    options = parse_train(["--arcface", "--weights", "none", "--lr", "0.1"])
    network, criterion = TwoPartNetwork(), Criterion(options, 3, 2)
    backbone, head = build_optimizer(network, criterion, options).param_groups
    assert (backbone["lr"], head["lr"]) == (pytest.approx(0.01), 0.1)
    assert {id(p) for p in backbone["params"]} == {id(p) for p in network.model["body"].parameters()}
    expected = {id(p) for p in [*network.classifier.parameters(), *criterion.parameters()]}
    assert {id(p) for p in head["params"]} == expected and len(list(criterion.parameters())) > 0
    for group in (backbone, head):
        assert group["nesterov"] and group["momentum"] == 0.9 and group["weight_decay"] == 5e-4
