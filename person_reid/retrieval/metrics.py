"""Rank@k, mAP and mINP as Market-1501's own evaluation computes them, without sorting the gallery.

The rank of a match is the number of valid gallery images ahead of it, so it is counted: one comparison of a row of
scores with one number. Junk (label -1, or the query's identity in the query's camera) is neither right nor wrong.
Equal scores are ordered by gallery index. A query without a match counts 0, and means are over all queries.

    query, gallery = load_result("pytorch_result.mat")
    print(evaluate(query, gallery).line())
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from person_reid.basics import UserError, did_you_mean
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CHUNK_BYTES, CosineScores, chunks, run_chunks


@dataclass
class Metrics:
    """What a ranking is worth, query by query. All arrays are (Q,).

    average_precision and inverse_negative_penalty lie in [0, 1]; first_match is the 0-based rank of the first match
    among the valid gallery, -1 where there is none; num_matches is the number of right answers in the gallery.
    """

    average_precision: np.ndarray
    inverse_negative_penalty: np.ndarray
    first_match: np.ndarray
    num_matches: np.ndarray
    gallery_size: int
    ap: str = "trapezoidal"
    PER_QUERY: ClassVar = ("average_precision", "inverse_negative_penalty", "first_match", "num_matches")

    @property
    def cmc(self):
        """(gallery_size,) cumulative matching characteristic: cmc[k - 1] is Rank@k, in [0, 1]."""
        found = self.first_match[self.first_match >= 0]
        return np.bincount(found, minlength=self.gallery_size).cumsum() / len(self.first_match)

    @property
    def mAP(self):
        """Mean average precision over all queries, in [0, 1]."""
        return float(self.average_precision.mean())

    @property
    def mINP(self):
        """Mean inverse negative penalty, in [0, 1]. Ye et al., Deep Learning for Person Re-identification, 2021."""
        return float(self.inverse_negative_penalty.mean())

    def rank(self, k):
        """Rank@k in [0, 1]: the share of queries with a match among their first k valid gallery images."""
        return float(self.cmc[min(k, self.gallery_size) - 1])

    def line(self, prefix=""):
        """`Rank@1:0.598872 Rank@5:… Rank@10:… mAP:… mINP:…` after `prefix`; an AP that is not the usual is named."""
        ranks = " ".join(f"Rank@{k}:{self.rank(k):.6f}" for k in (1, 5, 10))
        name = "mAP" if self.ap == "trapezoidal" else f"mAP({self.ap})"
        return f"{prefix}{ranks} {name}:{self.mAP:.6f} mINP:{self.mINP:.6f}"

    def figures(self):
        """{"rank1", "rank5", "rank10", "mAP", "mINP"}, each in [0, 1]."""
        return {
            **{f"rank{k}": float(self.rank(k)) for k in (1, 5, 10)},
            "mAP": float(self.mAP),
            "mINP": float(self.mINP),
        }


def evaluate(query, gallery, ap="trapezoidal", scores=None, ignore_cameras=False, workers=None):
    """Rank the gallery for every query and measure it. Returns Metrics.

    query, gallery: FeatureSets.
    ap: "trapezoidal", as published, or "step", as most other toolboxes.
    scores: similarity.Scores to rank by, or any such function; the cosines of the features by default.
    ignore_cameras: every image of the identity is a match, also one of the query's camera.
    workers: the processes that share the queries (see distributed.World); one alone by default.

    Raises UserError where all images come from one camera, so that every match would be junk.
    """
    if ap not in AVERAGE_PRECISIONS:
        raise UserError(f"--ap {ap}: expected {' or '.join(AVERAGE_PRECISIONS)}.{did_you_mean(ap, AVERAGE_PRECISIONS)}")
    scores = scores or CosineScores(query.features, gallery.features)
    pairs, junk = find_pairs(query, gallery, ignore_cameras)
    ranks = rank_matches(scores, (len(query), len(gallery)), pairs, junk, gallery.labels == -1, workers)
    return summarize(ranks, pairs[0], len(query), len(gallery), ap)


def find_pairs(query, gallery, ignore_cameras=False):
    """Who matches whom: (query indices, gallery indices) of all matches, then of all junk pairs, by query."""
    order = np.argsort(gallery.labels, kind="stable")
    first, last = (np.searchsorted(gallery.labels[order], query.labels, side) for side in ("left", "right"))
    counts = np.where(query.labels == -1, 0, last - first)
    queries = np.repeat(np.arange(len(query)), counts)
    within = np.arange(len(queries)) - np.repeat(counts.cumsum() - counts, counts)
    images = order[np.repeat(first, counts) + within]
    if ignore_cameras:
        return (queries, images), (queries[:0], images[:0])
    match = query.cameras[queries] != gallery.cameras[images]
    if len(match) and not match.any() and len(np.unique(np.concatenate([query.cameras, gallery.cameras]))) == 1:
        raise UserError(
            f"all images are of camera {gallery.cameras[0]}: a match in the query's own camera is junk, so every "
            "figure would be 0. If the cameras are unknown, evaluate with --ignore_cameras."
        )
    return (queries[match], images[match]), (queries[~match], images[~match])


def rank_matches(scores, shape, matches, junk, never, workers=None):
    """The rank of every match: how many valid gallery images come before it. Returns (M,) int64.

    scores, workers: see evaluate; shape: (Q, G); matches, junk: pairs from find_pairs; never: (G,) bool, junk to all.
    """
    ranks = np.zeros(len(matches[0]), np.int64)
    never = never.nonzero()[0]

    def rank_chunk(start, stop):
        chunk = scores(start, stop)
        bad, good = (slice(*np.searchsorted(pairs[0], (start, stop))) for pairs in (junk, matches))
        chunk[:, never] = -np.inf
        chunk[junk[0][bad] - start, junk[1][bad]] = -np.inf
        count = count_ahead if isinstance(chunk, np.ndarray) else count_ahead_torch
        ranks[good] = count(chunk, matches[0][good] - start, matches[1][good])

    spans = chunks(shape, getattr(scores, "budget", CHUNK_BYTES))
    run_chunks(rank_chunk, spans if workers is None else spans[workers.rank :: workers.size], "evaluating")
    return ranks if workers is None else workers.sum(ranks)


def count_ahead(scores, rows, columns):
    """How many entries of its row come before each (row, column) of `scores`: higher, or equal and further left."""
    counts = np.empty(len(rows), np.int64)
    for i, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        line = scores[row]
        score = line[column]
        counts[i] = np.count_nonzero(line[:column] >= score) + np.count_nonzero(line[column:] > score)
    return counts


def count_ahead_torch(scores, rows, columns):
    """count_ahead for a tensor on any device; the counts return as a NumPy array."""
    import torch

    rows, columns = (torch.from_numpy(index).to(scores.device) for index in (rows, columns))
    position = torch.arange(scores.shape[1], device=scores.device)
    counts = [
        ((scores[row] > score) | ((scores[row] == score) & (position < column[:, None]))).sum(dim=1)
        for row, column in zip(rows.split(512), columns.split(512), strict=True)
        for score in [scores[row, column][:, None]]
    ]
    return torch.cat(counts).cpu().numpy() if counts else np.empty(0, np.int64)


def trapezoidal_precision(ranks, before):
    """Precision halfway between two matches: the mean of the one after this match and the one just before it.

    ranks: (M,) 0-based ranks among the valid gallery; before: (M,) matches of the same query ahead of it. The precision
    before rank 0 is 1. Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, evaluation code.
    """
    previous = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
    return (previous + step_precision(ranks, before)) / 2


def step_precision(ranks, before):
    """Precision at each match, whose mean is the average precision of information retrieval (and scikit-learn's)."""
    return (before + 1) / (ranks + 1)


AVERAGE_PRECISIONS = {"trapezoidal": trapezoidal_precision, "step": step_precision}


def summarize(ranks, queries, num_queries, gallery_size, ap="trapezoidal"):
    """Metrics from the ranks (M,) of all matches and the query (M,) that each belongs to, sorted by query."""
    ranks = ranks[np.lexsort((ranks, queries))]
    counts = np.bincount(queries, minlength=num_queries)
    ends = counts.cumsum()
    before = np.arange(len(ranks)) - np.repeat(ends - counts, counts)
    precision = np.bincount(queries, AVERAGE_PRECISIONS[ap](ranks, before), num_queries) / np.maximum(counts, 1)
    found = counts > 0
    first, penalty = np.full(num_queries, -1), np.zeros(num_queries)
    first[found] = ranks[(ends - counts)[found]]
    penalty[found] = counts[found] / (ranks[ends[found] - 1] + 1)
    return Metrics(precision, penalty, first, counts, gallery_size, ap)


def merge_multi_query(query, multi_query):
    """A FeatureSet of queries whose feature is the mean over multi_query's images of that identity in that camera.

    A query that has no such image keeps its own feature.
    """
    if multi_query.features.shape[1] != query.features.shape[1]:
        raise UserError(
            f"multiple query: features of {multi_query.features.shape[1]} dimensions, the queries' have "
            f"{query.features.shape[1]}. Extract both with the same network: python test.py --multi --name NAME"
        )
    merged = np.array(query.features)
    for i, (label, camera) in enumerate(zip(query.labels, query.cameras, strict=True)):
        same = (multi_query.labels == label) & (multi_query.cameras == camera)
        if same.any():
            merged[i] = multi_query.features[same].mean(axis=0)
    return FeatureSet(merged, query.labels, query.cameras, query.paths)
