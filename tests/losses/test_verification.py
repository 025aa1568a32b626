"""The verification loss against its definition pair by pair, with its dropout and without."""

import torch
from torch.nn.functional import dropout

from person_reid import losses
from tests.losses.test_values import DIM, batch, check
from tests.support import slow_losses as slow


def trained_a_little():
    """The loss with a classifier that has an opinion: at first its weights are all but zero."""
    torch.manual_seed(1)
    loss = losses.create_loss("verification", dim=DIM)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    return loss


def check_with_parameters(loss, oracle, features, labels):
    """Loss, oracle(features, labels, weight, bias) and all their gradients agree.

    One seed decides the dropout.
    """
    weight, bias = (parameter.detach().double().requires_grad_() for parameter in loss.parameters())
    torch.manual_seed(2)
    check(loss, lambda f, y: oracle(f, y, weight, bias), features, labels)
    torch.testing.assert_close(
        loss.classifier.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(loss.classifier.bias.grad.double(), bias.grad, rtol=1e-5, atol=1e-6)


def test_the_loss_in_evaluation_mode_equals_a_loop_over_pairs_of_unit_length():
    features, labels = batch(7, count=12)
    check_with_parameters(
        trained_a_little().eval(),
        lambda f, *rest: slow.verification(slow.unit(f), *rest),
        features,
        labels,
    )


def with_products_dropped(masks, features, labels, weight, bias):
    """The loss (…) of products x ∘ y times masks (…, N, N or 1, D), of features (N, D)."""
    x, same = slow.unit(features), labels[:, None] == labels
    log_p = ((masks * x[:, None] * x) @ weight.T + bias).log_softmax(-1)
    positive, negative = same & ~torch.eye(len(x), dtype=torch.bool), ~same
    return -(log_p[..., 1][..., positive].mean(-1) + log_p[..., 0][..., negative].mean(-1)) / 2


def test_the_loss_in_training_mode_drops_three_quarters_of_each_product():
    features, labels = batch(7, count=12)
    torch.manual_seed(2)
    mask = dropout(torch.ones(12, DIM), 0.75)
    assert set(mask.unique().tolist()) == {0.0, 4.0}
    check_with_parameters(
        trained_a_little(),
        lambda *args: with_products_dropped(mask[:, None].double(), *args),
        features,
        labels,
    )


def test_the_loss_is_on_average_that_with_a_mask_of_its_own_for_every_pair():
    """Person-reID-verification drops out the product of each pair by itself."""
    features, labels = batch(8, count=6, classes=3)
    loss = trained_a_little()
    torch.manual_seed(3)
    ours = torch.stack([loss(features, labels) for _ in range(4000)]).detach()
    masks = dropout(torch.ones(4000, 6, 6, DIM), 0.75)
    theirs = with_products_dropped(masks, features, labels, *loss.parameters()).detach()
    error = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    # There are enough draws to tell dropout from its absence.
    assert abs(ours.mean() - loss.eval()(features, labels)) > 8 * error


def test_the_weights_have_the_names_and_initial_values_of_the_authors():
    torch.manual_seed(0)
    weights = losses.create_loss("verification", dim=512).state_dict()
    assert set(weights) == {"classifier.weight", "classifier.bias"}
    assert not weights["classifier.bias"].any()
    torch.testing.assert_close(
        weights["classifier.weight"].std(), torch.tensor(1e-3), rtol=0.05, atol=0
    )
