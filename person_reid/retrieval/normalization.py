"""Adapt features to the images that a network is tested on, without labels or training."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.arrays import as_features, check_lengths, names_or_numbers
from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows, unit_rows_or_zeros

# Standardising does not scale a dimension whose standard deviation is below this.
LEAST_DEVIATION = 1e-6
FEW_TRACKS = 10  # the mean of this many tracks counts for half, see level_cameras
# The least variance: equal features in equal cameras have variance 0, and 0 / 0 is undefined.
LEAST_VARIANCE = 1e-30


class CameraNorm:
    """Move the features of every camera to a common mean.

        g = (f − m_c) / ‖·‖,   m_c = (n_c b · mean of camera c + w · mean of all) / (n_c b + w)

    The statistics come from one set of images and apply to others. w is the variance within cameras
    and b the variance between them, summed over the dimensions: n_c images reveal little about
    their camera if people differ more than cameras do. Both are estimates from a one-way analysis
    of variance with random effects (Searle, Casella, McCulloch: Variance Components, 1992, chapter
    3).

    features: (N, D). cameras: (N,), numbers or names. scale: also divide each dimension by its
    standard deviation, averaged like the mean. A camera without images gets the statistics of all
    images. Raises UserError for other shapes or types.
    """

    def __init__(
        self, features: npt.ArrayLike, cameras: npt.ArrayLike, scale: bool = False
    ) -> None:
        features, cameras = _of_cameras(features, cameras)
        self.scale = scale
        self.all = self._statistics(features)
        names, sizes = np.unique(cameras, return_counts=True)
        own = np.stack([self._statistics(features[cameras == name]) for name in names])  # (C, 2, D)
        apart = float(sizes @ np.square(own[:, 0] - self.all[0]).sum(axis=1))
        total = float(len(features) * features.var(axis=0).sum())
        freedom = len(features) - len(names)
        spread = len(features) - np.square(sizes).sum() / len(features)
        within = (total - apart) / max(freedom, 1)
        between = max(0.0, apart - (len(names) - 1) * within) / max(spread, 1) if freedom else 0.0
        share = (sizes * between / np.maximum(sizes * between + within, LEAST_VARIANCE)).astype(
            np.float32
        )[:, None, None]
        self.own = dict(zip(names.tolist(), share * own + (1 - share) * self.all, strict=True))

    def _statistics(self, features: Features) -> Features:
        """Return the mean and the standard deviation of each dimension, (2, D) float32."""
        mean = features.mean(axis=0)
        return np.stack([mean, features.std(axis=0) if self.scale else np.ones_like(mean)])

    def __call__(self, features: npt.ArrayLike, cameras: npt.ArrayLike) -> Features:
        """Return normalised features (N, D) of unit length; a feature equal to the mean is kept.

        Raises UserError if their dimension differs from that of the fitted features.
        """
        features, cameras = _of_cameras(features, cameras)
        _check_width(features, self.all.shape[1])
        moved = np.empty_like(features)
        for camera in np.unique(cameras).tolist():
            mean, deviation = self.own.get(camera, self.all)
            divisor = np.where(deviation > LEAST_DEVIATION, deviation, 1)
            moved[cameras == camera] = (features[cameras == camera] - mean) / divisor
        return unit_rows_or_zeros(np.where(moved.any(axis=1, keepdims=True), moved, features))

    def of(self, images: FeatureSet) -> FeatureSet:
        """Return a FeatureSet with its features normalised."""
        return replace(images, features=self(images.features, images.cameras))


def level_cameras(features: npt.ArrayLike, cameras: npt.ArrayLike) -> Features:
    """Return unit-length features of tracks (T, D), with more similar camera means.

        g = (f − n_c / (n_c + 10) (m_c − m)) / ‖·‖

    m_c is the mean of the n_c tracks of a camera, m the mean of all tracks. A few tracks may show
    people whom no other camera sees, so their mean is unreliable. Unlike CameraNorm, this does not
    subtract m, so cosines stay comparable with cosines measured on other images.

    cameras: (T,), numbers or names. Tracks whose camera is unknown, "", do not change.
    """
    found, seen_by = _of_cameras(features, cameras)
    found, names = unit_rows(found), seen_by.astype(str)
    known = names != ""
    moved, mean = found.copy(), found[known].mean(axis=0) if known.any() else 0
    for name in np.unique(names[known]).tolist():
        own = names == name
        count = int(own.sum())
        moved[own] -= count / (count + FEW_TRACKS) * (found[own].mean(axis=0) - mean)
    return unit_rows_or_zeros(moved)


class Whitening:
    """Decorrelate the dimensions of features, and make their variances more similar.

    The whitening is fitted on one set.

        g = (Λ + λ̄ I)^(-1/4) Uᵀ (f − mean) / ‖·‖
        U Λ Uᵀ: the covariance; λ̄: the mean of its eigenvalues

    features: (N, D). The whitening follows Jégou and Chum, Negative Evidences and Co-occurrences in
    Image Retrieval: The Benefit of PCA and Whitening, ECCV 2012, but is only half as strong and
    shrunk by λ̄; both improve it (docs/accuracy.md).
    Raises UserError for a single image.
    """

    def __init__(self, features: npt.ArrayLike) -> None:
        features = as_features(features, "features")
        if len(features) < 2:
            raise UserError("whiten: a single image has no statistics. Leave it out.")
        self.mean = features.mean(axis=0)
        eigenvalues, vectors = np.linalg.eigh(np.cov(features.T.astype(np.float64)))
        damped = np.maximum(eigenvalues, 0) + max(eigenvalues.mean(), LEAST_DEVIATION**2)
        self.directions = (vectors * damped**-0.25).astype(np.float32)

    def of(self, images: FeatureSet) -> FeatureSet:
        """Return a FeatureSet with its features whitened, each of unit length."""
        features = as_features(images.features, "features")
        _check_width(features, len(self.mean))
        return replace(
            images, features=unit_rows_or_zeros((features - self.mean) @ self.directions)
        )


def _of_cameras(
    features: npt.ArrayLike, cameras: npt.ArrayLike
) -> tuple[Features, npt.NDArray[Any]]:
    """Return features (N, D) and cameras (N,) as arrays. Raises UserError if lengths differ."""
    found, seen_by = as_features(features, "features"), names_or_numbers(cameras, "cameras")
    check_lengths(features=found, cameras=seen_by)
    return found, seen_by


def _check_width(features: Features, width: int) -> None:
    if features.shape[1] != width:
        raise UserError(
            f"features: expected {width} dimensions, as fitted, found {features.shape[1]}."
        )
