"""One feature for each track: a person's images in a row from one camera."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows, unit_rows_or_zeros

Name = TypeVar("Name", bound=Hashable)


def track_features(
    features: Features, tracks: Sequence[Name], weights: npt.NDArray[Any] | None = None
) -> tuple[list[Name], Features]:
    """Return the names of the tracks and a feature of unit length for each: (T, D).

    The tracks are in the order of their first image. The feature is the mean of the track's
    features, each of unit length; zeros if all weights are 0.

    features: (N, D), not zero.
    tracks: N names, whatever tells tracks apart, such as (source, number).
    weights: (N,), not negative; by default all images count the same.

    Raises UserError if their numbers differ.
    """
    weights = np.ones(len(features)) if weights is None else np.asarray(weights)
    if not len(features) == len(tracks) == len(weights):
        raise UserError(
            f"track_features: {len(features)} features, {len(tracks)} names of tracks and "
            f"{len(weights)} weights; expected one each."
        )
    places: dict[Name, int] = {}
    rows = [places.setdefault(name, len(places)) for name in tracks]
    sums = np.zeros((len(places), features.shape[1]), np.float32)
    np.add.at(sums, rows, unit_rows(features) * weights[:, None].astype(np.float32))
    return list(places), unit_rows_or_zeros(sums)


def merge_tracklets(images: FeatureSet, tracklets: Sequence[Name]) -> FeatureSet:
    """Return one feature for each tracklet, with identity, camera and path of its first frame.

        feature = Σ_frames f / |f|, divided by its length

    As in the evaluation of MARS with mean pooling, in which frames have their own length: Zheng et
    al., MARS: A Video Benchmark for Large-Scale Person Re-Identification, ECCV 2016.

    tracklets: N names, see data/file_names.py. Raises UserError for frames that no metric could
    rank.
    """
    images.check("frames")
    names, features = track_features(images.features, tracklets)
    first = {name: index for index, name in reversed(list(enumerate(tracklets)))}
    return replace(images.select([first[name] for name in names]), features=features)


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
