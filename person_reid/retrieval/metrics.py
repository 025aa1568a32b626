"""Rank@k, mAP and mINP, computed as in Market-1501's own evaluation code.

The rank of a match is the number of valid gallery images ahead of it in order of score. Junk (label
-1, or the query's identity in the query's camera) is neither right nor wrong. Equal scores are
ordered by gallery index. A query without a match counts as 0, and means are over all queries.

    query, gallery = load_result("pytorch_result.mat")
    print(evaluate(query, gallery).line())
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers, as_array, names_or_numbers, whole_number
from person_reid.errors import UserError
from person_reid.retrieval.matches import Clothes, IndexPairs, find_pairs
from person_reid.retrieval.remarks import Remarks
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import (
    CHUNK_BYTES,
    CosineScores,
    Floats,
    Scores,
    check_comparable,
    chunks,
    positions,
    row_minima,
    run_chunks,
)
from person_reid.text import counted

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

    from person_reid.distributed import World

log = logging.getLogger(__name__)
RECIPROCAL_RANK = "reciprocal rank"  # replaces an average precision
RANKS = (1, 5, 10)  # the k of Rank@k that are printed
CAMERAS_IGNORED = "cameras ignored"


@dataclass(repr=False)
class Metrics:
    """The quality of a ranking, query by query.

    All arrays are (Q,).

    average_precision: in [0, 1].
    inverse_negative_penalty: in [0, 1].
    first_match: the 0-based rank of the first match among the valid gallery, or -1 if there is
        none.
    num_matches: the number of matches in the gallery.
    identities: the labels of the queries.
    gallery_size: the number of gallery images.
    ap: the name of the average precision, a key of AVERAGE_PRECISIONS, or RECIPROCAL_RANK.
    protocol: the difference from the usual protocol, such as "cameras ignored".
    """

    average_precision: npt.NDArray[np.float64]
    inverse_negative_penalty: npt.NDArray[np.float64]
    first_match: Integers
    num_matches: Integers
    identities: Integers
    gallery_size: int
    ap: str = "trapezoidal"
    protocol: str = ""
    PER_QUERY: ClassVar = (
        "average_precision",
        "inverse_negative_penalty",
        "first_match",
        "num_matches",
        "identities",
    )

    @property
    def cmc(self) -> npt.NDArray[np.float64]:
        """Return the cumulative matching characteristic (gallery_size,).

        Entry k - 1 is Rank@k, in [0, 1].
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

    def per_query(self, ranks: Sequence[int] = RANKS) -> dict[str, npt.NDArray[Any]]:
        """Return {"rank1", "rank5", "rank10", "mAP" or "MRR", "mINP"}, each an array (Q,).

        The mean of each array is the metric of that name.
        """
        found = self.first_match >= 0
        return {
            **{f"rank{k}": found & (self.first_match < _checked_rank(k)) for k in ranks},
            "MRR" if self.ap == RECIPROCAL_RANK else "mAP": self.average_precision,
            "mINP": self.inverse_negative_penalty,
        }

    def of(self, queries: npt.NDArray[Any]) -> Metrics:
        """Return the Metrics of the queries selected by indices or a mask (Q,)."""
        return replace(self, **{name: getattr(self, name)[queries] for name in self.PER_QUERY})

    def of_matched(self) -> Metrics:
        """Return the Metrics of the queries with a match."""
        return self.of(self.num_matches > 0)

    def rank(self, k: int) -> float:
        """Return Rank@k: the share of queries with a match among the first k valid gallery images.

        Raises UserError unless k is a positive integer.
        """
        return float(self.cmc[min(_checked_rank(k), self.gallery_size) - 1])

    @property
    def ap_name(self) -> str:
        """Return `mAP`, `mAP(step)` for an unusual AP, or `MRR` for reciprocal ranks."""
        usual = {"trapezoidal": "mAP", RECIPROCAL_RANK: "MRR"}
        return usual.get(self.ap, f"mAP({self.ap})")

    def line(self, prefix: str = "", ranks: Sequence[int] = RANKS) -> str:
        """Return `Rank@1:0.598872 Rank@5:… Rank@10:… mAP:… mINP:…` after `prefix`.

        An unusual AP is named, and an unusual protocol follows in brackets.
        """
        found = " ".join(f"Rank@{k}:{self.rank(k):.6f}" for k in ranks)
        protocol = f" ({self.protocol})" if self.protocol else ""
        return f"{prefix}{found} {self.ap_name}:{self.mAP:.6f} mINP:{self.mINP:.6f}{protocol}"

    def figures(self, ranks: Sequence[int] = RANKS) -> dict[str, Any]:
        """Return {"rank1", "rank5", "rank10", "mAP" or "MRR", "mINP"}, each from 0 to 1.

        Two more values are strings: "ap", the kind of average precision, and "protocol".
        """
        return {
            **{name: float(values.mean()) for name, values in self.per_query(ranks).items()},
            "ap": self.ap,
            "protocol": self.protocol or "usual",
        }

    def __repr__(self) -> str:
        if not len(self.first_match):
            return f"Metrics(0 queries, {self.gallery_size} gallery images)"
        return (
            f"Metrics({len(self.first_match)} queries, {self.gallery_size} gallery images, "
            f"{self.line()})"
        )


def _checked_rank(k: int) -> int:
    """Return the k of Rank@k. Raises UserError unless it is a positive integer."""
    if whole_number(k, "k") < 1:
        raise UserError(f"Rank@{k}: expected 1 or above.")
    return k


class GivenScores(Scores):
    """The rows of a matrix (Q, G) that a user computed.

    sign: 1 for similarities, -1 for distances.
    """

    def __init__(self, matrix: npt.NDArray[Any], sign: int) -> None:
        self.matrix, self.sign = matrix, sign

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows `start` to `stop` as floating-point numbers, where higher means nearer."""
        rows = self.matrix[start:stop]
        return np.multiply(rows, self.sign, dtype=np.result_type(rows, np.float32))


def evaluate(
    query: FeatureSet,
    gallery: FeatureSet,
    ap: str = "trapezoidal",
    scores: Callable[[int, int], Any] | npt.ArrayLike | None = None,
    ignore_cameras: bool = False,
    world: World | None = None,
    clothes: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    distances: npt.ArrayLike | None = None,
    same_clothes: bool = False,
) -> Metrics:
    """Rank the gallery for every query and return the Metrics of the ranking.

    query, gallery: the images to search for and to search in.
    ap: "trapezoidal", as published, or "step", as in most other toolboxes.
    scores: a matrix (Q, G), similarity.Scores or a function like them, where higher means nearer;
        by default, the cosines of the features. The array that a function returns is overwritten,
        unless it is a view of another NumPy array, which is copied first.
    ignore_cameras: count every image of the identity as a match, even from the query's own camera.
    world: the processes that share the queries (see distributed.World); by default, a single
        process.
    clothes: those worn in the images of query (Q,) and gallery (G,), numbered within an identity.
        Matches in the query's clothes are then junk, as in LTCC: Qian et al., Long-Term
        Cloth-Changing Person Re-Identification, ACCV 2020. Queries without another match are
        skipped and counted, as in Gu et al., Clothes-Changing Person Re-identification with RGB
        Modality Only, CVPR 2022.
    distances: a matrix (Q, G) in place of scores; lower means nearer.
    same_clothes: with `clothes`, matches in other clothes are junk instead.

    The log warns if many scores are equal, or if matches have lower scores than other images.
    Raises UserError for features that cannot be compared, for scores that are NaN, for an empty
    query or gallery, and if all images come from one camera, so that every match would be junk.
    """
    if not len(query) or not len(gallery):
        raise UserError(
            f"{len(query)} queries and {len(gallery)} gallery images: "
            "expected at least one of each."
        )
    if ap not in AVERAGE_PRECISIONS:
        raise UserError(f"ap={ap!r}: expected one of {', '.join(AVERAGE_PRECISIONS)}.")
    scores = scores_of(query, gallery, scores, distances)
    worn = None if clothes is None else _worn(query, gallery, clothes)
    pairs, junk = find_pairs(query, gallery, ignore_cameras, worn, same_clothes)
    wanted = f" in {'the same' if same_clothes else 'other'} clothes" if worn else ""
    if not len(pairs[0]):
        log.warning(
            f"No query has a match{wanted}, so every figure is 0."
            if worn
            else "No query has a match in the gallery, so every figure is 0. "
            "Do both come from the same data set?"
        )
    given = isinstance(scores, GivenScores) or not isinstance(scores, Scores)
    shape, remarks = (len(query), len(gallery)), Remarks(len(query), given)
    ranks = rank_matches(scores, shape, pairs, junk, gallery.labels == -1, world, remarks)
    remarks.tell()
    words = unusual({f"matches{wanted}": worn, CAMERAS_IGNORED: ignore_cameras})
    metrics = summarize(ranks, pairs[0], query.labels, len(gallery), ap, words)
    if worn is None or not metrics.num_matches.any():
        return metrics
    if without := np.count_nonzero(metrics.num_matches == 0):
        asked = counted(len(query), "query", "queries")
        log.warning("%s of %s have no match%s and are ignored.", without, asked, wanted)
    return metrics.of_matched()


def unusual(protocol: Mapping[str, Any]) -> str:
    """Describe a protocol as Metrics.protocol does."""
    return ", ".join(words for words, applies in protocol.items() if applies)


def scores_of(
    query: FeatureSet,
    gallery: FeatureSet,
    scores: Callable[[int, int], Any] | npt.ArrayLike | None = None,
    distances: npt.ArrayLike | None = None,
) -> Callable[[int, int], Any]:
    """Return the function that `evaluate` ranks by; for the parameters, see `evaluate`.

    Raises UserError for features that cannot be compared, or for a matrix of another shape.
    """
    if scores is not None and distances is not None:
        raise UserError("scores and distances: expected one of them.")
    if callable(scores):
        return scores
    name, given, sign = ("scores", scores, 1) if distances is None else ("distances", distances, -1)
    if given is None:
        check_comparable(query.features, gallery.features)
        return CosineScores(query.features, gallery.features)
    matrix, shape = as_array(given, name), (len(query), len(gallery))
    if matrix.shape != shape:
        raise UserError(
            f"{name}: expected a row for each query and a column for each gallery image, {shape}, "
            f"found shape {matrix.shape}."
        )
    return GivenScores(matrix, sign)


def _worn(
    query: FeatureSet, gallery: FeatureSet, clothes: tuple[npt.ArrayLike, npt.ArrayLike]
) -> Clothes:
    """Return the clothes as arrays. Raises UserError unless there is one entry for each image."""
    asked, among = (names_or_numbers(each, "clothes") for each in clothes)
    if (len(asked), len(among)) != (len(query), len(gallery)):
        raise UserError(
            f"clothes: found {len(asked)} and {len(among)}, for {len(query)} queries and "
            f"{len(gallery)} gallery images; expected one each."
        )
    return asked, among


def rank_matches(
    scores: Callable[[int, int], Any],
    shape: tuple[int, int],
    matches: IndexPairs,
    junk: IndexPairs,
    never: npt.NDArray[np.bool_],
    world: World | None = None,
    remarks: Remarks | None = None,
) -> Integers:
    """Return the rank (M,) of every match: how many valid gallery images come before it.

    scores, world: see evaluate.
    shape: (Q, G).
    matches, junk: pairs from find_pairs.
    never: (G,), the gallery images that are junk for all queries.
    remarks: checks a few rows of the scores.

    Raises a UserError that names the query for scores that are NaN.
    """
    ranks = np.zeros(len(matches[0]), np.int64)
    always_junk = never.nonzero()[0]

    def rank_chunk(start: int, stop: int) -> None:
        chunk = scores(start, stop)
        # These are rows of a matrix that the caller keeps, or integers, which cannot be NaN.
        if isinstance(chunk, np.ndarray) and (chunk.base is not None or chunk.dtype.kind != "f"):
            chunk = chunk.astype(np.result_type(chunk, np.float32))
        unknown = np.flatnonzero(np.isnan(row_minima(chunk)))
        if len(unknown):
            raise UserError(
                f"query {start + unknown[0]}: NaN scores cannot be ranked. "
                "A feature is all zero or not finite, or re-ranking gave them because a setting is "
                "too large or opposite features cancel out."
            )
        bad, good = (slice(*np.searchsorted(pairs[0], (start, stop))) for pairs in (junk, matches))
        # NaN is neither higher than a match nor equal to it, even if the match has -infinity.
        chunk[:, always_junk] = np.nan
        chunk[junk[0][bad] - start, junk[1][bad]] = np.nan
        if remarks:
            remarks.look(chunk, start, matches[0][good] - start, matches[1][good])
        count = count_ahead if isinstance(chunk, np.ndarray) else count_ahead_torch
        ranks[good] = count(chunk, matches[0][good] - start, matches[1][good])

    first, last = (0, shape[0]) if world is None else world.part(shape[0])
    spans = chunks((last - first, shape[1]), getattr(scores, "budget", CHUNK_BYTES))
    run_chunks(rank_chunk, [(first + start, first + stop) for start, stop in spans], "evaluating")
    return ranks if world is None else world.sum(ranks)


def count_ahead(scores: Floats, rows: Integers, columns: Integers) -> Integers:
    """Count, for each (row, column) of `scores`, the entries in its row that are ranked ahead.

    These entries are higher, or equal and further left. scores: NaN entries do not count.
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
        # Of images with equal scores, those further left are ahead.
        for match in start + np.flatnonzero(last - near.searchsorted(matches) > 1):
            counts[match] += np.count_nonzero(line[: columns[match]] == own[match])
    return counts


def count_ahead_torch(scores: torch.Tensor, rows: Integers, columns: Integers) -> Integers:
    """Return count_ahead for a tensor on any device, as a NumPy array."""
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
    """Return, for each match, the mean of the precision at it and just before it.

    The precision before rank 0 is 1. Zheng et al., Scalable Person Re-identification: A Benchmark,
    ICCV 2015, evaluation code.

    ranks: (M,) 0-based ranks among the valid gallery; before: (M,) matches of the same query that
    are ranked ahead.
    """
    previous = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
    return (previous + step_precision(ranks, before)) / 2


def step_precision(ranks: Integers, before: Integers) -> npt.NDArray[np.float64]:
    """Return the precision at each match.

    Its mean is the AP of information retrieval and of scikit-learn.
    """
    return (before + 1) / (ranks + 1)


AVERAGE_PRECISIONS = {"trapezoidal": trapezoidal_precision, "step": step_precision}


def summarize(
    ranks: Integers,
    queries: Integers,
    identities: Integers,
    gallery_size: int,
    ap: str = "trapezoidal",
    protocol: str = "",
) -> Metrics:
    """Return the Metrics for the ranks (M,) of all matches.

    queries: (M,), the query of each match, sorted. identities: (Q,), the labels of the queries.
    """
    num_queries = len(identities)
    ranks = ranks[np.lexsort((ranks, queries))]
    counts = np.bincount(queries, minlength=num_queries)
    ends = counts.cumsum()
    precisions = AVERAGE_PRECISIONS[ap](ranks, positions(counts))
    precision = np.bincount(queries, precisions, num_queries) / np.maximum(counts, 1)
    found = counts > 0
    first, penalty = np.full(num_queries, -1), np.zeros(num_queries)
    first[found] = ranks[(ends - counts)[found]]
    penalty[found] = counts[found] / (ranks[ends[found] - 1] + 1)
    return Metrics(
        average_precision=precision,
        inverse_negative_penalty=penalty,
        first_match=first,
        num_matches=counts,
        identities=identities,
        gallery_size=gallery_size,
        ap=ap,
        protocol=protocol,
    )
