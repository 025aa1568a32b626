"""Confidence intervals of Rank@k, mAP and mINP, and a paired test of two rankings.

Queries of one identity are not independent: they show the same person and find the same gallery
images. Identities are therefore resampled, and each contributes all of its queries (the cluster
bootstrap). Identity i, one of K, has n_i queries; S_i is the sum of a metric over them. Each draw
gives

    metric = sum_i w_i S_i / sum_i w_i n_i,   (w_1, ..., w_K) ~ Multinomial(K; 1/K, ..., 1/K)

and an interval with confidence c ends at the quantiles (1 - c) / 2 and (1 + c) / 2 of all draws.

    confidence_intervals(evaluate(query, gallery))["mAP"]
    paired_differences(evaluate(query, gallery), evaluate(other_query, other_gallery))["mAP"].p

The rankings do not change, so nothing is ranked again. The gallery and the network are fixed: an
interval shows how much metrics would vary with other people as queries, not with another training
run.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13. Field and Welsh,
Bootstrapping Clustered Data, Journal of the Royal Statistical Society B, 2007.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers, real_number, whole_number
from person_reid.config.evaluate import BOOTSTRAP_DRAWS, CONFIDENCE
from person_reid.errors import UserError
from person_reid.retrieval.metrics import RANKS, Metrics
from person_reid.text import counted

IdentitySums = npt.NDArray[np.float64]
DRAWN_AT_ONCE = 2**22  # the most numbers in a table of draws
SUMMATION = 1e-9  # relative difference of sums that differ only in the order of addition


class Interval(NamedTuple):
    """The ends of a confidence interval, each from 0 to 1."""

    low: float
    high: float


class Difference(NamedTuple):
    """The difference of a metric, second ranking minus first, with its interval and p-value.

    value, low and high lie between -1 and 1.
    """

    value: float
    low: float
    high: float
    p: float


def confidence_intervals(
    metrics: Metrics,
    ranks: Sequence[int] = RANKS,
    draws: int = BOOTSTRAP_DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return each metric's percentile interval: {"rank1": Interval(low, high), "mAP": ...}.

    Metrics.figures has the same names. Queries with the same label are one identity.

        metric = sum_i w_i S_i / sum_i w_i n_i,   w ~ Multinomial(K; 1/K, ..., 1/K)

    ranks: the k of each Rank@k. draws: how often the K identities are drawn, with replacement.
    confidence: the share of the draws within the interval. seed: seeds the draws.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
    Raises UserError if all queries show one identity.
    """
    figures = metrics.per_query(ranks)
    sums, sizes = _by_identity(figures, metrics.identities)
    ends = _intervals(sums, sizes, draws, confidence, seed)
    return {name: Interval(*end) for name, end in zip(figures, ends, strict=True)}


def interval_line(metrics: Metrics, intervals: Mapping[str, Interval], prefix: str = "") -> str:
    """Return `95 % of 750 identities: Rank@1:[0.5713, 0.6262] … mINP:[…]` after `prefix`.

    intervals: the intervals of these metrics, at the default confidence.
    """
    printed = {"mAP": metrics.ap_name}
    ends = [
        f"{printed.get(name, name.replace('rank', 'Rank@'))}:[{low:.4f}, {high:.4f}]"
        for name, (low, high) in intervals.items()
    ]
    identities = f"{len(np.unique(metrics.identities)):,} identities"
    return f"{prefix}{CONFIDENCE * 100:g} % of {identities}: {' '.join(ends)}"


def paired_differences(
    first: Metrics,
    second: Metrics,
    ranks: Sequence[int] = RANKS,
    draws: int = BOOTSTRAP_DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return differences, second minus first: {"rank1": Difference(value, low, high, p), ...}.

    Both rankings have the same queries in the same order, such as the rankings of two networks. The
    interval is as in confidence_intervals, with the same draws for both. The p-value comes from a
    sign-flip test: if the rankings were equally good, an identity's sum of differences D_i could
    just as well have the opposite sign.

        p = (1 + #{draws: |sum_i s_i D_i| >= |sum_i D_i|}) / (1 + draws),   s_i = 1 or -1

    Phipson and Smyth, Permutation P-values Should Never Be Zero, Statistical Applications in
    Genetics and Molecular Biology, 2010.
    Raises UserError as confidence_intervals does, and if the queries or the kinds of average
    precision differ.
    """
    if not np.array_equal(first.identities, second.identities):
        raise UserError(
            f"paired_differences: the {len(first.identities):,} and {len(second.identities):,} "
            "queries are not the same identities in the same order. Rank the same queries twice."
        )
    if first.ap != second.ap:
        raise UserError(
            f"paired_differences: expected one kind of average precision, found {first.ap} and "
            f"{second.ap}."
        )
    before, after = first.per_query(ranks), second.per_query(ranks)
    differences = {name: np.subtract(after[name], before[name], dtype=float) for name in before}
    sums, sizes = _by_identity(differences, first.identities)
    ends = _intervals(sums, sizes, draws, confidence, seed)
    values, p = sums.sum(axis=0) / sizes.sum(), _sign_flip(sums, draws, seed)
    columns = (each.tolist() for each in (values, *np.transpose(ends), p))
    return {name: Difference(*row) for name, *row in zip(before, *columns, strict=True)}


def _by_identity(
    figures: dict[str, npt.NDArray[np.float64]], identities: Integers
) -> tuple[IdentitySums, Integers]:
    """Return the sum of each metric over each identity's queries (K, F), and their number (K,).

    Raises UserError for fewer than two identities.
    """
    known, place, sizes = np.unique(identities, return_inverse=True, return_counts=True)
    if len(known) < 2:
        raise UserError(
            "No confidence interval: expected queries of two identities or more, found "
            f"{counted(len(identities), 'query', 'queries')} of "
            f"{counted(len(known), 'identity', 'identities')}."
        )
    sums = [np.bincount(place, values, len(known)) for values in figures.values()]
    return np.stack(sums, axis=1), sizes


def _intervals(
    sums: IdentitySums, sizes: Integers, draws: int, confidence: float, seed: int
) -> list[list[float]]:
    """Return [low, high] for each metric's mean, from each identity's sums (K, F) and size (K,)."""
    if not 0 < real_number(confidence, "confidence") < 1:
        raise UserError(f"confidence: expected a number between 0 and 1, found {confidence}.")
    columns = np.column_stack([sums, sizes])
    random = np.random.default_rng(seed)
    drawn = np.concatenate([_times_drawn(random, shape) @ columns for shape in _parts(sums, draws)])
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    return np.quantile(drawn[:, :-1] / drawn[:, -1:], ends, axis=0).T.tolist()


def _times_drawn(random: np.random.Generator, shape: tuple[int, int]) -> Integers:
    """Return how often each identity is drawn, (draws, K), if each draw takes K identities."""
    draws, identities = shape
    drawn = random.integers(identities, size=shape) + identities * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(shape)


def _sign_flip(sums: IdentitySums, draws: int, seed: int) -> IdentitySums:
    """Return the p-values (F,) of differences, given their sums over each identity (K, F)."""
    random = np.random.default_rng(seed)
    least = np.abs(sums.sum(axis=0)) * (1 - SUMMATION)
    reached = np.zeros(sums.shape[1], np.int64)
    for shape in _parts(sums, draws):
        signs = 2 * random.integers(2, size=shape, dtype=np.int8) - 1
        reached += (np.abs(signs @ sums) >= least).sum(axis=0)
    return (1 + reached) / (1 + draws)


def _parts(sums: IdentitySums, draws: int) -> Iterator[tuple[int, int]]:
    """Yield the shapes of tables of draws, each with at most DRAWN_AT_ONCE entries."""
    identities, left = len(sums), whole_number(draws, "draws", least=1)
    most = max(1, DRAWN_AT_ONCE // identities)
    while left > 0:
        yield min(most, left), identities
        left -= most
