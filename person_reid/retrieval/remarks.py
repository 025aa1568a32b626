"""What the log says about a ranking: warnings about unusual queries, cameras and scores."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import numpy as np

from person_reid.arrays import Integers
from person_reid.retrieval.matches import find_pairs
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CosineScores, chunks, on_cpu
from person_reid.text import as_command, counted

log = logging.getLogger(__name__)
SAMPLE = 20  # queries whose scores are checked
LEAST, MOSTLY = 10, 0.9  # the checked queries, and the share of them, that suggest a reversed order
TIED = 0.1  # share of the gallery that may score the same as a match without a warning
ASKED_FOR_CAMERAS = 200  # queries whose first answer's camera is checked
OWN_CAMERA, ABOVE_CHANCE = 0.5, 1.5  # the limits of remark_own_camera


def remark_unmatched(query: FeatureSet, gallery: FeatureSet, ignore_cameras: bool = False) -> None:
    """Log how many queries have no match; if none has a match, `evaluate` reports that.

    test.py, evaluate*.py, report.py, compare_networks.py, save_pretrained.py and train.py with
    --eval_every call it once for their queries.
    """
    (queries, _), _ = find_pairs(query, gallery, ignore_cameras)
    without = len(query) - len(np.unique(queries))
    if 0 < without < len(query):
        log.warning(
            "%s of %s have no match in the gallery and count as 0 in every figure.",
            f"{without:,}",
            counted(len(query), "query", "queries"),
        )


def remark_own_camera(query: FeatureSet, gallery: FeatureSet) -> None:
    """Warn if the first answers depend more on the camera than on the person.

    This is the case if more than half of the first answers are strangers in the query's own camera,
    and more than 1.5 times as many as in a random order. At most 200 queries are checked, by
    cosine.
    """
    rows = np.unique(np.linspace(0, len(query) - 1, ASKED_FOR_CAMERAS).astype(int))
    scores = CosineScores(query.features[rows], gallery.features)
    parts = (scores(start, stop) for start, stop in chunks(scores.shape, scores.budget))
    own, chance = [], []
    for row, similar in zip(rows, itertools.chain.from_iterable(parts), strict=True):
        here = gallery.cameras == query.cameras[row]
        valid = (gallery.labels != -1) & ~(here & (gallery.labels == query.labels[row]))
        if valid.any():
            own.append(here[np.where(valid, similar, -np.inf).argmax()])
            chance.append(here[valid].mean())
    if own and np.mean(own) > max(OWN_CAMERA, ABOVE_CHANCE * np.mean(chance)):
        log.warning(
            "%.0f %% of the first answers are other people in the query's own camera, where "
            "%.0f %% of the gallery is: the features depend more on the camera than on the person. "
            "Try %s --camera_norm; in Python: CameraNorm.",
            100 * np.mean(own),
            100 * np.mean(chance),
            as_command("test.py"),
        )


class Remarks:
    """Warnings about a ranking, from the scores of a few queries; any thread can add scores.

    given: whether a user computed the scores, which may then be distances.
    """

    def __init__(self, num_queries: int, given: bool) -> None:
        self.given = given
        self.sample = np.unique(np.linspace(0, num_queries - 1, SAMPLE).astype(int))
        self.tied: list[float] = []
        self.below: list[bool] = []

    def look(self, scores: Any, start: int, rows: Integers, columns: Integers) -> None:
        """Collect evidence from scores (B, G) of the queries from `start` on; NaN marks junk.

        rows, columns: the matches of all rows, sorted by row.
        """
        for row in (self.sample - start).tolist():
            if not 0 <= row < len(scores):
                continue
            own = columns[slice(*np.searchsorted(rows, (row, row + 1)))]
            line = on_cpu(scores[row])
            others = np.delete(line, own)
            others = others[~np.isnan(others)]
            if len(own) and len(others):
                match = line[own]
                self.tied.append(np.mean(others == match.max()))
                self.below.append(np.median(match) < np.median(others))

    def tell(self) -> None:
        """Log the warnings."""
        if self.tied and np.mean(self.tied) > TIED:
            log.warning(
                "On average, %.0f %% of the other images score the same as the nearest match. "
                "Equal scores are ordered by gallery index, so these figures depend on the order "
                "of the files. Does the network give every image the same feature?",
                100 * np.mean(self.tied),
            )
        elif self.given and len(self.below) >= LEAST and np.mean(self.below) > MOSTLY:
            log.warning(
                "Most matches score lower than other images. Are these distances? Pass distances= "
                "in Python, or --lower_is_nearer to evaluate.py."
            )
