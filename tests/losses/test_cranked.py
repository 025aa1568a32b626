"""The "cranked_loss" of Ranked_Person_ReID, group by group as it is published."""

from typing import Any

import pytest
import torch

from person_reid import losses
from person_reid.losses.pairs import k_means
from tests.losses.test_values import batch, check
from tests.support import slow_losses as slow


def slow_cranked(features, labels, alpha=2.0, margin=1.3, temperature=1.0, clusters=8):
    """The published sum, both sides with weight 1, of the groups that `k_means` finds."""
    x, total = slow.unit(features), 0.0
    groups = k_means(slow.unit(features.float()).detach(), clusters)
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        if len(members) <= 3:
            continue
        means = []
        for i in members:
            distances = [slow.distance(x[i], x[j]) for j in members if labels[i] != labels[j]]
            violations = torch.stack(
                [alpha - d for d in distances if d < alpha] or [x.new_zeros(())]
            )
            weights = torch.exp(temperature * violations)
            means.append((weights * violations).sum() / weights.sum())
        total = total + slow.mean(means)
    for identity in labels.unique():
        members = (labels == identity).nonzero()[:, 0]
        for i in members:
            apart = [slow.distance(x[i], x[p]) - (alpha - margin) for p in members if p != i]
            total = total + sum(v for v in apart if v > 0) / len(members) ** 2
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_is_half_of_the_published_sum(seed):
    features, labels = batch(seed, count=40)
    sizes = k_means(slow.unit(features), 8).bincount()
    # Some groups are left out, and some are not.
    assert 0 < sizes[sizes > 0].min() <= 3 < sizes.max()
    check(losses.create_loss("cranked"), lambda f, y: slow_cranked(f, y) / 2, features, labels)


def test_the_settings_are_those_of_the_published_sum():
    features, labels = batch(3, count=32)
    settings: dict[str, Any] = {"alpha": 1.4, "margin": 0.9, "clusters": 3}
    ours = losses.create_loss("cranked", balance=0.5, negative_temperature=4.0, **settings)
    check(ours, lambda f, y: slow_cranked(f, y, temperature=4.0, **settings) / 2, features, labels)


def test_the_loss_grows_with_the_number_of_groups_where_the_mean_does_not():
    """Twice the people have twice the sum of the positives, and the same mean.

    The second half is at a right angle to the first.
    """
    features, labels = batch(4, count=24)
    apart = torch.cat(
        [torch.cat([features, 0 * features], 1), torch.cat([0 * features, features], 1)]
    )
    two = torch.cat([labels, labels + labels.max() + 1])
    for name, factor in (("cranked", 2), ("ranked_kmeans", 1)):
        loss = losses.create_loss(name, balance=0.0)
        torch.testing.assert_close(loss(apart, two), factor * loss(features, labels))
