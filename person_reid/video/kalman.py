"""Predict tracked boxes with a constant-velocity Kalman filter for each parameter of a box.

    motion = Motion.of(boxes).after(1.0)          # a frame later
    motion.boxes()                                # (T, 4), the predictions
    motion = motion.seen(rows, boxes[matches])    # corrected by new boxes

A box is z = (x, y, a, h): its centre, its aspect (width over height) and its height. Each of the
four numbers p has a velocity v, and all noise is independent, so the eight-dimensional filter of
SORT and ByteTrack splits into four two-dimensional filters. After t frames,

    p ← p + t v                   Var p ← Var p + 2 t Cov + t² Var v + t q
                                  Cov ← Cov + t Var v
                                  Var v ← Var v + t u

and after a measurement z with variance r,

    K = Var p / (Var p + r)       L = Cov / (Var p + r)
    p ← p + K (z − p)             v ← v + L (z − p)
    Var v ← Var v − L Cov         Cov ← (1 − K) Cov         Var p ← (1 − K) Var p

The deviations √q, √u and √r are fractions of the height, except for the aspect.

Kalman, A New Approach to Linear Filtering and Prediction Problems, 1960. Wojke et al., Simple
Online and Realtime Tracking with a Deep Association Metric, ICIP 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from person_reid.arrays import Array, Integers

PLACE_DEVIATION = 1 / 20  # fraction of the height: of the position per frame, and of a measurement
SPEED_DEVIATION = 1 / 160  # fraction of the height: of the velocity per frame
ASPECT_PLACE, HEIGHT_PLACE = 2, 3  # in z
ASPECT_DEVIATIONS = 1e-2, 1e-5  # per frame: the aspect and its velocity
MEASURED_ASPECT_DEVIATION = 1e-1
# Factors on the deviations of a track with a single box. ByteTrack uses 10 for the speed, which
# loses people who pass quickly and close to the camera.
FIRST_PLACE, FIRST_SPEED = 2, 20
LEAST_LENGTH = 1e-3  # pixels; heights are divisors and must not be 0


@dataclass(frozen=True)
class Motion:
    """The state of T tracks: five arrays (T, 4) with the columns x, y, a and h.

    place, speed: the means. place_variance, speed_variance, covariance: their variances and
    covariance.
    """

    place: Array
    speed: Array
    place_variance: Array
    speed_variance: Array
    covariance: Array

    @classmethod
    def of(cls, boxes: Array) -> Motion:
        """Return the state of T tracks with a single box each, (T, 4), initially at rest."""
        place = measured(boxes)
        q, u = _noise(place[:, HEIGHT_PLACE])
        nothing = np.zeros_like(place)
        return cls(place, nothing, FIRST_PLACE**2 * q, FIRST_SPEED**2 * u, nothing)

    def after(self, frames: float) -> Motion:
        """Return the state `frames` frames later."""
        q, u = _noise(self.place[:, HEIGHT_PLACE])
        grown = 2 * frames * self.covariance + frames**2 * self.speed_variance
        return Motion(
            self.place + frames * self.speed,
            self.speed,
            self.place_variance + grown + frames * q,
            self.speed_variance + frames * u,
            self.covariance + frames * self.speed_variance,
        )

    def seen(self, rows: Integers, boxes: Array) -> Motion:
        """Return the state after correcting each track in `rows` (R,) with its box, (R, 4)."""
        place, speed, place_variance, speed_variance, covariance = (
            each.copy() for each in self._arrays()
        )
        error = measured(boxes) - place[rows]
        noise = (PLACE_DEVIATION * np.abs(place[rows, HEIGHT_PLACE, None])) ** 2 * np.ones(4)
        noise[:, ASPECT_PLACE] = MEASURED_ASPECT_DEVIATION**2
        total = place_variance[rows] + noise
        gain, speed_gain = place_variance[rows] / total, covariance[rows] / total
        place[rows] += gain * error
        speed[rows] += speed_gain * error
        speed_variance[rows] -= speed_gain * covariance[rows]
        covariance[rows] *= 1 - gain
        place_variance[rows] *= 1 - gain
        return Motion(place, speed, place_variance, speed_variance, covariance)

    def boxes(self) -> Array:
        """Return the left, top, right and bottom of each track's box, (T, 4)."""
        centre = self.place[:, :2]
        height = self.place[:, HEIGHT_PLACE]
        half = np.stack([self.place[:, ASPECT_PLACE] * height, height], axis=1) / 2
        return np.concatenate([centre - half, centre + half], axis=1)

    def select(self, rows: Array) -> Motion:
        """Return the state of the tracks that `rows` selects, by indices or (T,) booleans."""
        return Motion(*(each[rows] for each in self._arrays()))

    def joined(self, other: Motion) -> Motion:
        """Return the states of these tracks, followed by the states of the tracks of `other`."""
        both = zip(self._arrays(), other._arrays(), strict=True)
        return Motion(*(np.concatenate(pair) for pair in both))

    def _arrays(self) -> tuple[Array, ...]:
        return (
            self.place,
            self.speed,
            self.place_variance,
            self.speed_variance,
            self.covariance,
        )


def measured(boxes: Array) -> Array:
    """Return the centre, aspect ratio and height (N, 4) of boxes (N, 4)."""
    boxes = np.asarray(boxes, np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    height = sides[:, 1:]
    return np.concatenate([centre, sides[:, :1] / np.maximum(height, LEAST_LENGTH), height], axis=1)


def _noise(heights: Array) -> tuple[Array, Array]:
    """Return the variances q and u of position and velocity per frame, each (T, 4)."""
    q, u = (
        (share * np.abs(heights[:, None])) ** 2 * np.ones(4)
        for share in (PLACE_DEVIATION, SPEED_DEVIATION)
    )
    q[:, ASPECT_PLACE], u[:, ASPECT_PLACE] = np.square(ASPECT_DEVIATIONS)
    return q, u
