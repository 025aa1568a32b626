"""One feature for each track (a person's consecutive images from one camera), and their similarity.

    cosines = TrackCosines.of(track_similarities(query, gallery))    # on people with labels
    cosines.threshold(people=12)

A network's config.json stores the cosines as "track_cosines": {"strangers": [mean, deviation],
"same": [mean, deviation]}.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from person_reid.retrieval.bound import THRESHOLD_STEPS
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows, unit_rows_or_zeros
from person_reid.retrieval.thresholds import Counts, PairSimilarities

Name = TypeVar("Name", bound=Hashable)
IN_FILE = "track_cosines"  # in config.json
FEW_TRACKS = 50  # tracks that make half of the possible correction, see TrackCosines.corrected
HIGHER = 0.02  # above the point of even odds, as a wrong link joins all tracks of two people


def track_features(
    features: Features, tracks: Sequence[Name], weights: npt.NDArray[Any] | None = None
) -> tuple[list[Name], Features]:
    """Return the names of T tracks and their features (T, D), of unit length.

    The tracks are in the order of their first image. A track's feature is the mean of its images'
    features, each of unit length, or zeros if all weights are 0.

    features: (N, D), not zero.
    tracks: N names that distinguish tracks, such as (source, number).
    weights: (N,), not negative; by default, all images count equally.
    """
    weights = np.ones(len(features)) if weights is None else np.asarray(weights)
    places: dict[Name, int] = {}
    rows = [places.setdefault(name, len(places)) for name in tracks]
    sums = np.zeros((len(places), features.shape[1]), np.float32)
    np.add.at(sums, rows, unit_rows(features) * weights[:, None].astype(np.float32))
    return list(places), unit_rows_or_zeros(sums)


def merge_tracklets(images: FeatureSet, tracklets: Sequence[Name]) -> FeatureSet:
    """Return one feature for each tracklet, with the identity, camera and path of its first frame.

        feature = Σ_frames f / |f|, divided by its length

    This follows the evaluation of MARS with mean pooling, except that MARS does not normalise
    frames: Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-Identification, ECCV
    2016.

    tracklets: N names, see data/file_names.py. Raises UserError for frames that no metric could
    rank.
    """
    images.check("frames")
    names, features = track_features(images.features, tracklets)
    first = {name: index for index, name in reversed(list(enumerate(tracklets)))}
    return replace(images.select([first[name] for name in names]), features=features)


def track_halves(features: Sequence[Features]) -> Features:
    """Return the mean features of the first and second halves of T tracks, (T, 2, D).

    They are zeros for a track with one image. features: (n, D) for each track, in order of time.
    """
    width = features[0].shape[1] if len(features) else 0
    halves = np.zeros((len(features), 2, width), np.float32)
    for place, images in enumerate(features):
        if len(images) > 1:
            middle = len(images) // 2
            halves[place] = [unit_rows(part).mean(0) for part in np.split(images, [middle])]
    return halves


class TrackCosines(NamedTuple):
    """The mean and standard deviation of the cosine between tracks from different cameras.

    strangers: between tracks of two people. same: between tracks of one person.
    """

    strangers: tuple[float, float]
    same: tuple[float, float]

    @classmethod
    def of(cls, pairs: PairSimilarities) -> "TrackCosines":
        """Return the TrackCosines from histograms; see track_similarities."""
        return cls(_mean_and_deviation(pairs.impostor), _mean_and_deviation(pairs.genuine))

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "TrackCosines | None":
        """Return the TrackCosines in a config.json, or None. Raises ValueError or TypeError."""
        if (found := config.get(IN_FILE)) is None:
            return None
        strangers, same = ((float(a), float(b)) for a, b in (found["strangers"], found["same"]))
        if not -1 < strangers[0] < same[0] < 1 or not min(strangers[1], same[1]) > 0:
            raise ValueError(f"{IN_FILE} {found!r}: expected means and deviations of cosines")
        return cls(strangers, same)

    def corrected(self, features: Features) -> "TrackCosines":
        """Return the cosines, corrected for the scene of T tracks with unit-length features (T, D).

        The mean of the strangers moves down towards the median cosine of all pairs, by T / (T + 50)
        of the distance. It never moves up, because with few people, many pairs show one person.
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
        """Return the cosine at which two tracks are equally likely to show one person or two.

            t = (μ_d + μ_s) / 2 + σ² ln(people − 1) / (μ_s − μ_d) + 0.02

        It separates two normal distributions whose common variance σ² is the mean of both.
        Strangers are `people` − 1 times as frequent: with more people, more strangers look alike.
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
