"""How alike two tracks are with a network, and the cosine from which they show one person.

    cosines = TrackCosines.of(track_similarities(query, gallery))    # on people with labels
    cosines.threshold(people=12)

A network's config.json holds them as "track_cosines": {"strangers": [mean, deviation], "same":
[mean, deviation]}.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from person_reid.retrieval.bound import THRESHOLD_STEPS
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import Counts, PairSimilarities

IN_FILE = "track_cosines"  # in config.json
FEW_TRACKS = 50  # which correct what is known half
HIGHER = 0.02  # than even odds: a wrong link joins all tracks of two people


class TrackCosines(NamedTuple):
    """Mean and standard deviation of the cosine between two tracks of two cameras.

    strangers: of two people. same: of one person.
    """

    strangers: tuple[float, float]
    same: tuple[float, float]

    @classmethod
    def of(cls, pairs: PairSimilarities) -> "TrackCosines":
        """Return those of histograms, see track_similarities."""
        return cls(_mean_and_deviation(pairs.impostor), _mean_and_deviation(pairs.genuine))

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "TrackCosines | None":
        """Return those in the content of a config.json, or None. Raises ValueError or TypeError."""
        if (found := config.get(IN_FILE)) is None:
            return None
        strangers, same = ((float(a), float(b)) for a, b in (found["strangers"], found["same"]))
        if not -1 < strangers[0] < same[0] < 1 or not min(strangers[1], same[1]) > 0:
            raise ValueError(f"{IN_FILE} {found!r}: expected means and deviations of cosines")
        return cls(strangers, same)

    def corrected(self, features: Features) -> "TrackCosines":
        """Return them for a place whose T tracks, (T, D) of unit length, are mostly of strangers.

        The mean of the strangers moves by T / (T + 50) down to the median cosine of all pairs. It
        never moves up: few people have many pairs of one person.
        """
        if len(features) < 2:
            return self
        pairs = (features @ features.T)[np.triu_indices(len(features), 1)]
        share = len(features) / (len(features) + FEW_TRACKS)
        mean = (
            share * min(float(np.median(pairs)), self.strangers[0])
            + (1 - share) * self.strangers[0]
        )
        return TrackCosines((mean, self.strangers[1]), self.same)

    def threshold(self, people: int) -> float:
        """Return the cosine at which two tracks are as likely one person as two.

            t = (μ_d + μ_s) / 2 + σ² ln(people − 1) / (μ_s − μ_d) + 0.02

        It separates two normal distributions with the mean variance σ², where strangers are
        `people` − 1 times as frequent: with more people, there are more strangers who look alike.
        """
        apart = self.same[0] - self.strangers[0]
        variance = (self.same[1] ** 2 + self.strangers[1] ** 2) / 2
        odds = math.log(max(people - 1, 1))
        return (self.same[0] + self.strangers[0]) / 2 + variance / apart * odds + HIGHER


# OSNet x0.25 from MSMT17 on tracks of Market-1501; docs/how-it-works.md has the formula.
USUAL = TrackCosines((0.53, 0.09), (0.80, 0.085))


def _mean_and_deviation(counts: Counts) -> tuple[float, float]:
    cosines = np.arange(-THRESHOLD_STEPS, THRESHOLD_STEPS + 1) / THRESHOLD_STEPS
    mean = np.average(cosines, weights=counts)
    deviation = np.sqrt(np.average((cosines - mean) ** 2, weights=counts))
    return round(float(mean), 4), round(float(deviation), 4)
