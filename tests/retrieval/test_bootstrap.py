"""Intervals over identities, against a loop from the definition and against SciPy."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from person_reid import UserError, confidence_intervals, evaluate, paired_differences
from person_reid.retrieval import bootstrap
from person_reid.retrieval.bootstrap import interval_line
from person_reid.retrieval.metrics import Metrics
from tests.support.ranked_people import random_sets

FIGURES = ("rank1", "rank5", "mAP", "mINP")


def rankings(seed, identities=6, queries=25, hardness=0.0):
    """Metrics of random figures, which queries of one identity share in part."""
    random = np.random.default_rng(seed)
    labels = random.integers(1, identities + 1, queries)
    shared = random.normal(size=identities + 1)[labels] + hardness
    first = np.floor(np.exp(shared + random.normal(size=queries))).astype(int)
    first[random.random(queries) < 0.1] = -1
    found = first >= 0
    precision = np.where(found, 1 / (first + 1.5), 0)
    return Metrics(precision, precision / 2, first, found.astype(int), labels, 60)


def loop_intervals(metrics, draws, confidence, seed):
    """Draw identities, put all of their queries together, and take the means."""
    identities = sorted(set(metrics.identities.tolist()))
    own = [np.flatnonzero(metrics.identities == each) for each in identities]
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for drawn in np.random.default_rng(seed).integers(len(own), size=(draws, len(own))):
        part = metrics.of(np.concatenate([own[place] for place in drawn]))
        for name, value in zip(
            FIGURES, (part.rank(1), part.rank(5), part.mAP, part.mINP), strict=True
        ):
            found[name].append(value)
    ends = 50 * (1 - confidence), 50 * (1 + confidence)
    return {name: np.percentile(values, ends) for name, values in found.items()}


def assert_alike(found, expected, atol=1e-12):
    assert list(found) == list(expected)
    for name, ends in found.items():
        np.testing.assert_allclose(ends, expected[name], atol=atol, err_msg=name)


@given(st.integers(0, 2**32), st.integers(2, 9), st.sampled_from([0.5, 0.95, 0.99]))
@settings(max_examples=10)
def test_intervals_are_those_of_a_loop_over_draws(seed, identities, confidence):
    metrics = rankings(seed, identities)
    if len(set(metrics.identities)) > 1:
        found = confidence_intervals(metrics, (1, 5), 150, confidence, seed)
        assert_alike(found, loop_intervals(metrics, 150, confidence, seed))


def test_intervals_are_scipys_of_the_ratio_of_sums():
    metrics = rankings(3, identities=40, queries=200)
    labels = np.unique(metrics.identities)
    sizes = np.array([(metrics.identities == label).sum() for label in labels])
    found = confidence_intervals(metrics, (1, 5))
    values = (metrics.first_match == 0, metrics.average_precision)
    for name, of_queries in zip(("rank1", "mAP"), values, strict=True):
        sums = np.array([of_queries[metrics.identities == label].sum() for label in labels])
        expected = scipy.stats.bootstrap(
            (sums, sizes),
            lambda sums, sizes, axis: sums.sum(axis) / sizes.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=10_000,
            method="percentile",
            random_state=np.random.default_rng(1),
        ).confidence_interval
        # Two sets of 10,000 draws: the ends themselves vary by about a fiftieth of the width.
        width = expected.high - expected.low
        np.testing.assert_allclose(found[name], expected, atol=width / 20)


def test_draws_in_small_tables_are_the_same(monkeypatch):
    metrics = rankings(5)
    whole = confidence_intervals(metrics, draws=1000)
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 13)
    assert confidence_intervals(metrics, draws=1000) == whole


@given(st.integers(0, 2**32), st.integers(2, 4))
@settings(max_examples=20)
def test_more_queries_of_the_same_identities_say_nothing_new(seed, times):
    """Over queries, the interval would shrink by the square root of their number."""
    metrics = rankings(seed)
    repeated = metrics.of(np.repeat(np.arange(len(metrics.identities)), times))
    options = {"draws": 200, "seed": seed}
    assert_alike(
        confidence_intervals(repeated, **options), confidence_intervals(metrics, **options)
    )


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_an_interval_lies_within_the_identities_and_ignores_their_order(seed):
    metrics = rankings(seed)
    found = confidence_intervals(metrics, draws=200)
    means = [metrics.of(metrics.identities == label).mAP for label in np.unique(metrics.identities)]
    low, high = found["mAP"]
    assert min(means) - 1e-12 <= low <= high <= max(means) + 1e-12
    shuffled = metrics.of(np.random.default_rng(seed).permutation(len(metrics.identities)))
    assert_alike(confidence_intervals(shuffled, draws=200), found)


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_exchanged_rankings_differ_by_the_opposite(seed):
    first, second = rankings(seed), rankings(seed, hardness=0.4)
    ahead = paired_differences(first, second, draws=200)
    behind = paired_differences(second, first, draws=200)
    for name, (value, low, high, p) in ahead.items():
        np.testing.assert_allclose(behind[name], (-value, -high, -low, p), atol=1e-12)
        assert value == pytest.approx(second.figures()[name] - first.figures()[name])
    unchanged = paired_differences(first, first, draws=200)
    assert set(unchanged.values()) == {(0, 0, 0, 1)}


def test_the_interval_of_a_difference_is_that_of_a_loop():
    first, second = rankings(1), rankings(1, hardness=0.3)
    found = paired_differences(first, second, (1, 5), draws=300, seed=4)
    of_both = replace(
        first,
        average_precision=second.average_precision - first.average_precision,
        inverse_negative_penalty=second.inverse_negative_penalty - first.inverse_negative_penalty,
    )
    expected = loop_intervals(of_both, 300, 0.95, 4)
    for name in ("mAP", "mINP"):
        np.testing.assert_allclose(found[name][1:3], expected[name], atol=1e-12)


def test_p_is_the_share_of_all_signs_that_differ_as_much():
    first, second = rankings(2, identities=8), rankings(2, identities=8, hardness=0.1)
    found = paired_differences(first, second, draws=20_000)
    for name, values in second.per_query().items():
        own = values.astype(float) - first.per_query()[name]
        sums = [own[first.identities == label].sum() for label in np.unique(first.identities)]
        flipped = [np.dot(signs, sums) for signs in itertools.product((1, -1), repeat=len(sums))]
        expected = np.mean(np.abs(flipped) >= abs(sum(sums)) - 1e-9)
        assert found[name].p == pytest.approx(expected, abs=0.02)
    assert 0.01 < found["mAP"].p < 0.5


@pytest.mark.slow
def test_95_of_100_intervals_hold_the_true_figure_and_5_of_100_p_values_are_below_5():
    """300 test sets of 100 identities, whose queries resemble each other, from one population."""
    sets = [rankings(seed, identities=100, queries=500) for seed in range(300)]
    true = rankings(300, identities=20_000, queries=200_000).mAP
    ends = [confidence_intervals(each, draws=1000)["mAP"] for each in sets]
    assert 0.92 < np.mean([low <= true <= high for low, high in ends]) < 0.98
    p = []
    for seed, first in enumerate(sets):
        coin = np.random.default_rng(seed).random(101)[first.identities] < 0.5
        changed = first.average_precision * 0.9
        one, other = (
            replace(first, average_precision=np.where(swap, changed, first.average_precision))
            for swap in (coin, ~coin)
        )
        p.append(paired_differences(one, other, draws=1000)["mAP"].p)
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08


def test_the_line_names_the_average_precision_and_the_identities():
    query, gallery = random_sets()
    metrics = evaluate(query, gallery, "step")
    line = interval_line(metrics, confidence_intervals(metrics, (1,)), "multi ")
    assert line.startswith("multi 95 % of 4 identities: Rank@1:[0.")
    assert " mAP(step):[0." in line


def test_what_has_no_interval_is_refused():
    metrics = rankings(0)
    alone = metrics.of(metrics.identities == metrics.identities[0])
    for measure in (confidence_intervals, lambda each: paired_differences(each, each)):
        with pytest.raises(UserError, match=r"^No confidence interval: .* of 1 identity\.$"):
            measure(alone)
    with pytest.raises(UserError, match="draws: expected a whole number, 1 or above, found 0"):
        confidence_intervals(metrics, draws=0)
    for confidence in (0, 1, 95):
        with pytest.raises(UserError, match=r"confidence: expected a number between 0 and 1"):
            confidence_intervals(metrics, confidence=confidence)


def test_rankings_of_other_queries_are_refused():
    metrics = rankings(0)
    turned = metrics.of(slice(None, None, -1))
    with pytest.raises(UserError, match="not the same identities in the same order"):
        paired_differences(metrics, turned)
    with pytest.raises(UserError, match="one kind of average precision, found trapezoidal and st"):
        paired_differences(metrics, replace(metrics, ap="step"))
