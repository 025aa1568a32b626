"""Find the threshold of tracks without a label, from pairs that cannot show one person.

    found = threshold_of_tracks(features, cameras, starts, ends, {("hall", "yard"): 5.0})
    found.threshold, found.false_matches            # None where there are too few such pairs

Nobody is in two cameras at one moment, or in less time than the way takes: such tracks are two
people. They are pairs of two cameras, like those that are to be linked. Two tracks of one camera at
one moment are not used: the light and background of a camera make strangers more alike, and a
tracker that exchanges two people writes such a pair with one face.

The halves of a track are one person. The threshold is half-way between the mean cosine of strangers
and the mean cosine of halves. A share of strangers that may reach it would not do alone: a network
that knows the cameras tells people apart at a cosine that hardly any stranger reaches, another one
does not.

Halves are more alike than the person in two cameras. The share of them that reaches the threshold
is therefore the most to hope for between cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Array, as_array, as_features, check_lengths, names_or_numbers
from person_reid.retrieval.association import Travel, two_people
from person_reid.retrieval.bound import upper_bounds
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.similarity import Features, unit_rows, unit_rows_or_zeros
from person_reid.retrieval.thresholds import PairSimilarities, histogram

FEWEST_STRANGERS = 400  # pairs
FEWEST_HALVED = 20  # tracks; below it, halves have no say
STRANGERS_RATE = 0.01  # share of strangers' pairs that reach the threshold then
STRANGERS_CONFIDENCE = 0.95


@dataclass(frozen=True)
class TrackThreshold:
    """A threshold of the mean cosine of tracks, and its errors.

    strangers: the pairs of two people that it was measured on. false_matches: the share of them
    that reaches it. bound: what the rate of other people in front of these cameras does not exceed,
    with STRANGERS_CONFIDENCE. halved: the tracks with several images. recall: the share of them
    whose halves reach it; NaN without any. pairs: the cosines; halves stand for one person, and the
    hardest pairs are the halves of each track and its most similar stranger.
    """

    threshold: float
    strangers: int
    false_matches: float
    bound: float
    halved: int
    recall: float
    pairs: PairSimilarities = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Return the errors in words."""
        recall = f"; {self.recall:.1%} of {self.halved:,} halved tracks reach it"
        return (
            f"{self.false_matches:.1%} of {self.strangers:,} pairs of strangers in two cameras "
            f"reach it, at most {self.bound:.1%} with confidence {STRANGERS_CONFIDENCE:g}"
            f"{recall if self.halved else ''}"
        )


def threshold_of_tracks(
    features: npt.ArrayLike,
    cameras: npt.ArrayLike,
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    travel: Travel,
    camera_norm: bool = False,
    halves: Features | None = None,
) -> TrackThreshold | None:
    """Return the threshold of tracks without labels: between strangers and the halves of tracks.

    With fewer than FEWEST_HALVED tracks of several images, STRANGERS_RATE of the strangers reach
    it. Returns None for fewer than FEWEST_STRANGERS pairs: without times, with one camera, or with
    few tracks. Only cameras in `travel` count, since others may see one place.

    features, cameras, starts, ends, travel, camera_norm: see link_tracks.
    halves: see track_halves.
    """
    features, cameras = as_features(features, "features"), names_or_numbers(cameras, "cameras")
    begun, gone = (as_array(times, "times").ravel() for times in (starts, ends))
    check_lengths(features=features, cameras=cameras, starts=begun, ends=gone)
    features = unit_rows(features)
    norm = CameraNorm(features, cameras) if camera_norm else None
    features = norm(features, cameras) if norm else features
    apart = two_people(cameras, begun, gone, travel) & (cameras[:, None] != cameras)
    first, second = np.nonzero(np.triu(apart))
    if len(first) < FEWEST_STRANGERS:
        return None
    similar = np.einsum("nd,nd->n", features[first], features[second])
    alike = _similarity_of_halves(halves, cameras, norm)
    threshold = _threshold(similar, alike)
    counts = np.stack(
        [
            np.bincount(np.concatenate([first[some], second[some]]), minlength=len(features))
            for some in (similar >= -np.inf, similar >= threshold)
        ],
        axis=1,
    )
    most = np.full(len(features), -np.inf)
    for tracks in (first, second):
        np.maximum.at(most, tracks, similar)
    own, others, hardest = map(histogram, (alike, similar, most))
    return TrackThreshold(
        threshold,
        len(similar),
        float((similar >= threshold).mean()),
        float(upper_bounds(counts[counts[:, 0] > 0], STRANGERS_CONFIDENCE)[0]),
        len(alike),
        float((alike >= threshold).mean()) if len(alike) else np.nan,
        PairSimilarities(own, others, own, hardest),
    )


def track_halves(features: Sequence[Features]) -> Features:
    """Return the means of the first and the second half of the images of T tracks, (T, 2, D).

    They are zeros for a track of one image. features: (n, D) of each track, in the order of time.
    """
    width = features[0].shape[1] if len(features) else 0
    halves = np.zeros((len(features), 2, width), np.float32)
    for place, images in enumerate(features):
        if len(images) > 1:
            middle = len(images) // 2
            halves[place] = [unit_rows(part).mean(0) for part in np.split(images, [middle])]
    return halves


def _threshold(similar: Array, alike: Array) -> float:
    """Return the threshold between cosines of strangers (S,) and of halves (H,)."""
    if len(alike) >= FEWEST_HALVED:
        return float(similar.mean() + alike.mean()) / 2
    count = int(STRANGERS_RATE * len(similar))
    least, next_one = np.sort(similar)[::-1][count - 1 : count + 1]
    return float(min((least + next_one) / 2, 1))


def _similarity_of_halves(
    halves: Features | None, cameras: Array, norm: CameraNorm | None
) -> Array:
    """Return the cosine between the halves of the tracks that have two, (H,)."""
    if halves is None:
        return np.zeros(0)
    several = halves.any(axis=(1, 2))
    sides = halves[several].transpose(1, 0, 2)
    if norm and several.any():
        sides = np.stack([norm(side, cameras[several]) for side in sides])
    first, second = (unit_rows_or_zeros(side) for side in sides)
    return np.einsum("nd,nd->n", first, second)
