"""Rank@k, mAP and mINP as Market-1501's own evaluation code computes them.

The rank of a match is the number of valid gallery images ahead of it: its place among the sorted
scores. Junk (label -1, or the query's identity in the query's camera) is neither right nor wrong.
Equal scores are ordered by gallery index. A query without a match counts as 0, and means are over
all queries.

    query, gallery = load_result("pytorch_result.mat")
    print(evaluate(query, gallery).line())
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import (
    CHUNK_BYTES,
    CosineScores,
    Floats,
    Integers,
    check_comparable,
    chunks,
    positions,
    row_minima,
    run_chunks,
)
from person_reid.text import counted, did_you_mean

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

    from person_reid.distributed import World

log = logging.getLogger(__name__)
IndexPairs = tuple[Integers, Integers]  # query indices (P,) and gallery indices (P,)
Clothes = tuple[Integers, Integers]  # queries' (Q,) and gallery's (G,)
RECIPROCAL_RANK = "reciprocal rank"  # in place of an average precision


@dataclass
class Metrics:
    """The quality of a ranking, query by query. All arrays are (Q,).

    average_precision: in [0, 1].
    inverse_negative_penalty: in [0, 1].
    first_match: the 0-based rank of the first match among the valid gallery, or -1 without a match.
    num_matches: the number of matches in the gallery.
    gallery_size: the number of gallery images.
    ap: the name of the average precision, a key of AVERAGE_PRECISIONS, or RECIPROCAL_RANK.
    """

    average_precision: npt.NDArray[np.float64]
    inverse_negative_penalty: npt.NDArray[np.float64]
    first_match: Integers
    num_matches: Integers
    gallery_size: int
    ap: str = "trapezoidal"
    PER_QUERY: ClassVar = (
        "average_precision",
        "inverse_negative_penalty",
        "first_match",
        "num_matches",
    )

    @property
    def cmc(self) -> npt.NDArray[np.float64]:
        """Return the cumulative matching characteristic (gallery_size,):
        cmc[k - 1] is Rank@k, in [0, 1].
        """
        found = self.first_match[self.first_match >= 0]
        return np.bincount(found, minlength=self.gallery_size).cumsum() / len(self.first_match)

    @property
    def mAP(self) -> float:
        """Return the mean average precision over all queries, in [0, 1]."""
        return float(self.average_precision.mean())

    @property
    def mINP(self) -> float:
        """Return the mean inverse negative penalty, in [0, 1].

        Ye et al., Deep Learning for Person Re-identification, 2021.
        """
        return float(self.inverse_negative_penalty.mean())

    def of_matched(self) -> Metrics:
        """Return the Metrics of the queries with a match."""
        kept = self.num_matches > 0
        return replace(self, **{name: getattr(self, name)[kept] for name in self.PER_QUERY})

    def rank(self, k: int) -> float:
        """Return Rank@k in [0, 1]: the share of queries with a match among their first k valid
        gallery images.

        Raises UserError for a k below 1.
        """
        if k < 1:
            raise UserError(f"Rank@{k}: expected 1 or above.")
        return float(self.cmc[min(k, self.gallery_size) - 1])

    @property
    def ap_name(self) -> str:
        """Return `mAP`, `mAP(step)` for an unusual AP, or `MRR` for reciprocal ranks."""
        usual = {"trapezoidal": "mAP", RECIPROCAL_RANK: "MRR"}
        return usual.get(self.ap, f"mAP({self.ap})")

    def line(self, prefix: str = "") -> str:
        """Return `Rank@1:0.598872 Rank@5:… Rank@10:… mAP:… mINP:…` after
        `prefix`; an unusual AP is named.
        """
        ranks = " ".join(f"Rank@{k}:{self.rank(k):.6f}" for k in (1, 5, 10))
        return f"{prefix}{ranks} {self.ap_name}:{self.mAP:.6f} mINP:{self.mINP:.6f}"

    def figures(self) -> dict[str, float]:
        """Return {"rank1", "rank5", "rank10", "mAP" or "MRR", "mINP"}, each in [0, 1]."""
        return {
            **{f"rank{k}": self.rank(k) for k in (1, 5, 10)},
            "MRR" if self.ap == RECIPROCAL_RANK else "mAP": self.mAP,
            "mINP": self.mINP,
        }


def evaluate(
    query: FeatureSet,
    gallery: FeatureSet,
    ap: str = "trapezoidal",
    scores: Callable[[int, int], Any] | None = None,
    ignore_cameras: bool = False,
    world: World | None = None,
    clothes: Clothes | None = None,
) -> Metrics:
    """Rank the gallery for every query and return the Metrics of the ranking.

    query, gallery: the images to search for and to search in.
    ap: "trapezoidal", as published, or "step", as in most other toolboxes.
    scores: similarity.Scores to rank by, or a function like them; the cosines of the features by
        default. The returned array is overwritten, unless it is a view of another NumPy array,
        which is copied first.
    ignore_cameras: count every image of the identity as a match, even from the query's own camera.
    world: the processes that share the queries (see distributed.World); a single one by default.
    clothes: what query (Q,) and gallery (G,) wear, numbered within an identity. Matches in the
        query's clothes are then junk, as in LTCC: Qian et al., Long-Term Cloth-Changing Person
        Re-Identification, ACCV 2020. Queries without another match are left out and counted, as by
        Gu et al., Clothes-Changing Person Re-identification with RGB Modality Only, CVPR 2022.

    Raises UserError for an unknown `ap`, for features that cannot be compared or scores that are
    NaN, for an empty query or gallery, and if all images come from one camera, so that every match
    would be junk.
    """
    if ap not in AVERAGE_PRECISIONS:
        raise UserError(
            f"--ap {ap}: expected "
            f"{' or '.join(AVERAGE_PRECISIONS)}.{did_you_mean(ap, AVERAGE_PRECISIONS)}"
        )
    if not len(query) or not len(gallery):
        raise UserError(
            f"{len(query)} queries and {len(gallery)} gallery images: "
            "expected at least one of each."
        )
    if scores is None:
        check_comparable(query.features, gallery.features)
        scores = CosineScores(query.features, gallery.features)
    pairs, junk = find_pairs(query, gallery, ignore_cameras, clothes)
    if not len(pairs[0]):
        log.warning(
            "No query has a match in other clothes, so every figure is 0."
            if clothes
            else "No query has a match in the gallery, so every figure is 0. Do "
            "both come from the same data set?"
        )
    ranks = rank_matches(
        scores, (len(query), len(gallery)), pairs, junk, gallery.labels == -1, world
    )
    metrics = summarize(ranks, pairs[0], len(query), len(gallery), ap)
    if clothes is None or not metrics.num_matches.any():
        return metrics
    if without := np.count_nonzero(metrics.num_matches == 0):
        asked = counted(len(query), "query", "queries")
        log.warning("%s of %s have no match in other clothes and are left out.", without, asked)
    return metrics.of_matched()


def check_cameras(query: FeatureSet, gallery: FeatureSet) -> None:
    """Raise UserError if there are matches but all images come from one camera, so
    that every match would be junk.
    """
    cameras = np.concatenate([query.cameras, gallery.cameras])
    has_match = np.isin(query.labels[query.labels != -1], gallery.labels).any()
    if has_match and (cameras == cameras[0]).all():
        raise UserError(
            f"all images are of camera {cameras[0]}: a match in the "
            "query's own camera is junk, so every "
            "figure would be 0. If the cameras are unknown, count these matches: "
            "--ignore_cameras of evaluate.py, "
            "threshold.py, figures.py and explore.py."
        )


def remark_unmatched(query: FeatureSet, gallery: FeatureSet, ignore_cameras: bool = False) -> None:
    """Log how many queries have no match; if none has one, `evaluate` says so.

    test.py, evaluate*.py, report.py, compare_networks.py, save_pretrained.py and a training with
    --eval_every call it once for their queries.
    """
    (queries, _), _ = find_pairs(query, gallery, ignore_cameras)
    without = len(query) - len(np.unique(queries))
    if 0 < without < len(query):
        log.warning(
            "%s of %s have no match in the gallery and count as 0 in every figure.",
            f"{without:,}", counted(len(query), "query", "queries"),
        )  # fmt: skip


def find_pairs(
    query: FeatureSet,
    gallery: FeatureSet,
    ignore_cameras: bool = False,
    clothes: Clothes | None = None,
) -> tuple[IndexPairs, IndexPairs]:
    """Return the (query, gallery) indices of all matches and of all junk pairs, sorted by query.

    ignore_cameras, clothes: see evaluate.
    Raises UserError as check_cameras does, unless the cameras are ignored.
    """
    if not ignore_cameras:
        check_cameras(query, gallery)
    order = np.argsort(gallery.labels, kind="stable")
    first, last = (
        np.searchsorted(gallery.labels[order], query.labels, side) for side in ("left", "right")
    )
    counts = np.where(query.labels == -1, 0, last - first)
    queries = np.repeat(np.arange(len(query)), counts)
    images = order[np.repeat(first, counts) + positions(counts)]
    match = np.full(len(queries), ignore_cameras)
    if not ignore_cameras:
        match = query.cameras[queries] != gallery.cameras[images]
    if clothes:
        match &= clothes[0][queries] != clothes[1][images]
    return (queries[match], images[match]), (queries[~match], images[~match])


def rank_matches(
    scores: Callable[[int, int], Any],
    shape: tuple[int, int],
    matches: IndexPairs,
    junk: IndexPairs,
    never: npt.NDArray[np.bool_],
    world: World | None = None,
) -> Integers:
    """Return the rank (M,) of every match: how many valid gallery images come before it.

    scores, world: see evaluate.
    shape: (Q, G).
    matches, junk: pairs from find_pairs.
    never: (G,) gallery images that are junk to all queries.

    Raises UserError, which names the query, for scores that are NaN.
    """
    ranks = np.zeros(len(matches[0]), np.int64)
    always_junk = never.nonzero()[0]

    def rank_chunk(start: int, stop: int) -> None:
        chunk = scores(start, stop)
        # rows of a matrix that the caller keeps, or whole numbers, which cannot be NaN
        if isinstance(chunk, np.ndarray) and (chunk.base is not None or chunk.dtype.kind != "f"):
            chunk = chunk.astype(np.result_type(chunk, np.float32))
        unknown = np.flatnonzero(np.isnan(row_minima(chunk)))
        if len(unknown):
            raise UserError(
                f"query {start + unknown[0]}: NaN scores cannot be ranked. A feature "
                "is all zero or not finite, or "
                "re-ranking gave them because a setting is too large "
                "or opposite features cancel out."
            )
        bad, good = (slice(*np.searchsorted(pairs[0], (start, stop))) for pairs in (junk, matches))
        # neither higher than a match nor equal, even if that has -infinity
        chunk[:, always_junk] = np.nan
        chunk[junk[0][bad] - start, junk[1][bad]] = np.nan
        count = count_ahead if isinstance(chunk, np.ndarray) else count_ahead_torch
        ranks[good] = count(chunk, matches[0][good] - start, matches[1][good])

    first, last = (0, shape[0]) if world is None else world.part(shape[0])
    spans = chunks((last - first, shape[1]), getattr(scores, "budget", CHUNK_BYTES))
    run_chunks(rank_chunk, [(first + start, first + stop) for start, stop in spans], "evaluating")
    return ranks if world is None else world.sum(ranks)


def count_ahead(scores: Floats, rows: Integers, columns: Integers) -> Integers:
    """Count, for each (row, column) of `scores`, the entries of the row that are higher, or equal
    and further left.

    scores: entries that are NaN do not count.
    rows: ascending.
    """
    own, counts = scores[rows, columns], np.empty(len(rows), np.int64)
    starts = np.searchsorted(rows, np.arange(len(scores) + 1)).tolist()
    for row, (start, stop) in enumerate(itertools.pairwise(starts)):
        if start == stop:
            continue
        line, matches = scores[row], own[start:stop]
        near = np.sort(line[line >= matches.min()])
        last = near.searchsorted(matches, "right")
        counts[start:stop] = len(near) - last
        # other images score the same
        for match in start + np.flatnonzero(last - near.searchsorted(matches) > 1):
            counts[match] += np.count_nonzero(line[: columns[match]] == own[match])
    return counts


def count_ahead_torch(scores: torch.Tensor, rows: Integers, columns: Integers) -> Integers:
    """Return count_ahead of a tensor on any device, as a NumPy array."""
    import torch

    position = torch.arange(scores.shape[1], device=scores.device)
    counts = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), 512):  # (512, G) comparisons at a time
        part = slice(start, start + 512)
        row, column = (torch.from_numpy(index[part]).to(scores.device) for index in (rows, columns))
        score = scores[row, column][:, None]
        ahead = (scores[row] > score) | ((scores[row] == score) & (position < column[:, None]))
        counts[part] = ahead.sum(dim=1).cpu().numpy()
    return counts


def trapezoidal_precision(ranks: Integers, before: Integers) -> npt.NDArray[np.float64]:
    """Return, for each match, the mean of the precision at the match and the precision just before
    it.

    The precision before rank 0 is 1. Zheng et al., Scalable Person Re-identification: A Benchmark,
    ICCV 2015, evaluation code.

    ranks: (M,) 0-based ranks among the valid gallery; before: (M,) matches of the same query that
    are ranked ahead.
    """
    previous = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
    return (previous + step_precision(ranks, before)) / 2


def step_precision(ranks: Integers, before: Integers) -> npt.NDArray[np.float64]:
    """Return the precision at each match; the mean is the AP of information
    retrieval, and of scikit-learn.
    """
    return (before + 1) / (ranks + 1)


AVERAGE_PRECISIONS = {"trapezoidal": trapezoidal_precision, "step": step_precision}


def summarize(
    ranks: Integers, queries: Integers, num_queries: int, gallery_size: int, ap: str = "trapezoidal"
) -> Metrics:
    """Return the Metrics for the ranks (M,) of all matches, given the query
    (M,) of each, sorted by query.
    """
    ranks = ranks[np.lexsort((ranks, queries))]
    counts = np.bincount(queries, minlength=num_queries)
    ends = counts.cumsum()
    precisions = AVERAGE_PRECISIONS[ap](ranks, positions(counts))
    precision = np.bincount(queries, precisions, num_queries) / np.maximum(counts, 1)
    found = counts > 0
    first, penalty = np.full(num_queries, -1), np.zeros(num_queries)
    first[found] = ranks[(ends - counts)[found]]
    penalty[found] = counts[found] / (ranks[ends[found] - 1] + 1)
    return Metrics(precision, penalty, first, counts, gallery_size, ap)


def have_images(query: FeatureSet, multi_query: FeatureSet) -> npt.NDArray[np.bool_]:
    """Return (Q,) whether `multi_query` has an image of each query's identity and camera."""
    there = set(zip(multi_query.labels.tolist(), multi_query.cameras.tolist(), strict=True))
    asked = zip(query.labels.tolist(), query.cameras.tolist(), strict=True)
    return np.array([pair in there for pair in asked], bool)


def merge_multi_query(query: FeatureSet, multi_query: FeatureSet) -> FeatureSet:
    """Return the queries with the mean feature of the images in `multi_query` of the same identity
    and camera.

    A query that has no such image keeps its own feature. Raises UserError if the features differ in
    dimension.
    """
    if multi_query.features.shape[1] != query.features.shape[1]:
        raise UserError(
            f"multiple query: features of {multi_query.features.shape[1]} "
            "dimensions, the queries' have "
            f"{query.features.shape[1]}. Extract both with the same network: "
            "python test.py --multi --name NAME"
        )
    merged = np.array(query.features)
    for i, (label, camera) in enumerate(zip(query.labels, query.cameras, strict=True)):
        same = (multi_query.labels == label) & (multi_query.cameras == camera)
        if same.any():
            merged[i] = multi_query.features[same].mean(axis=0)
    return FeatureSet(merged, query.labels, query.cameras, query.paths)
