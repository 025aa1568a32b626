"""Solids of revolution painted into a picture: the drawing of synthetic people, people.py says what they are made of.

A figure is a stack of solids (limbs, torso, head, bags), placed by a skeleton in three dimensions, painted back to
front. The paint lives on their surface: a logo turns away with the chest, a backpack shows from behind, and the same
shirt looks different from every side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pose:
    """How a person is seen. Angles are in radians; yaw 0 faces the camera, yaw pi/2 the right of the image."""

    yaw: float = 0.0
    pitch: float = 0.0  # the camera looks down by this much
    phase: float = 0.0  # where in the walking cycle, one cycle is 2 pi
    stride: float = 0.45  # the largest swing of a thigh
    turn: float = 0.0  # the head, against the body
    light: float = -0.6  # where the light comes from; 0 is the camera, negative is the left

    def project(self, point):
        """(x left, y up, z forward) in units of height -> (x, y, nearness), y still upwards, feet at about 0."""
        x, y, z = point
        across = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        near = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        perspective = 1 + 0.5 * np.sin(self.pitch) * (y - 0.5)
        return np.array((across * perspective, y * perspective - near * np.sin(self.pitch), near))


@dataclass(frozen=True, eq=False)
class Solid:
    """A solid of revolution: its axis from start to end in body coordinates, radii at equal steps along it, its paint.

    paint: RGB, or a function of (azimuth, t) that returns RGB (..., 3). cap: how far the ends bulge, in radii.
    flat: depth as a part of the width, for what is not round. nearer: moves it in the order of painting.
    """

    start: Sequence[float] | np.ndarray
    end: Sequence[float] | np.ndarray
    radii: Sequence[float] | np.ndarray
    paint: tuple | Callable
    cap: float = 1.0
    flat: float = 1.0
    nearer: float = 0.0
    turn: float = 0.0


def draw_solids(canvas, solids, pose, feet, scale):
    """Paint a figure into `canvas` in place, its lowest point on the ground.

    canvas: (H, W, 3) float32, 0 to 255. feet: (x, y) in pixels of the ground below the body's middle, which may lie
    outside; scale: pixels in one unit of the solids' coordinates.
    """
    draw_shadow(canvas, feet, scale)
    ground = min(min(solid.start[1], solid.end[1]) for solid in solids)

    def nearness(solid):
        return pose.project(np.add(solid.start, solid.end) / 2)[2] + solid.nearer

    for solid in sorted(solids, key=nearness):
        ends = (pose.project((x, y - ground, z)) for x, y, z in (solid.start, solid.end))
        start, end = (np.array((feet[0] + scale * x, feet[1] - scale * y)) for x, y, _ in ends)
        breadth = np.hypot(np.cos(pose.yaw), solid.flat * np.sin(pose.yaw))
        paint_solid(canvas, start, end, np.multiply(solid.radii, scale * breadth), solid, pose)


def draw_shadow(canvas, feet, scale):
    """Darken the ground around the feet: a soft ellipse."""
    across, deep = 0.2 * scale, 0.035 * scale
    left, right = (int(np.clip(feet[0] + sign * 2 * across, 0, canvas.shape[1])) for sign in (-1, 1))
    top, bottom = (int(np.clip(feet[1] + sign * 2 * deep, 0, canvas.shape[0])) for sign in (-1, 1))
    x = (np.arange(left, right, dtype=np.float32) - np.float32(feet[0])) / np.float32(across)
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(feet[1])) / np.float32(deep)
    dark = 0.5 * np.exp(-2 * (x[None] ** 2 + y[:, None] ** 2))
    canvas[top:bottom, left:right] *= 1 - dark[..., None]


def paint_solid(canvas, start, end, radii, solid, pose):
    """Blend one solid into the canvas in place, shaded as a lit cylinder, with smooth edges.

    start, end: (2,) its axis, (x, y) in pixels; radii: (K,) pixels.
    """
    reach = radii.max() + 1
    left, top = np.maximum(np.floor(np.minimum(start, end) - reach).astype(int), 0)
    right, bottom = np.ceil(np.maximum(start, end) + reach).astype(int) + 1
    patch = canvas[top:bottom, left:right]
    if not patch.size:
        return
    axis = end - start
    length = max(float(np.hypot(*axis)), 1e-3)
    axis = axis / length if length > 1e-2 else np.array((0.0, 1.0))
    x = np.arange(left, left + patch.shape[1], dtype=np.float32)[None] - np.float32(start[0])
    y = np.arange(top, top + patch.shape[0], dtype=np.float32)[:, None] - np.float32(start[1])
    along = x * np.float32(axis[0]) + y * np.float32(axis[1])
    across = x * np.float32(axis[1]) - y * np.float32(axis[0])
    t = np.clip(along / np.float32(length), 0, 1)
    radius = interpolate(t, radii)
    over = np.maximum(-along, along - np.float32(length)).clip(0) / np.float32(max(solid.cap, 0.02))
    radius = np.sqrt(np.maximum(radius * radius - over * over, 0))
    cover = np.clip(radius - np.abs(across) + 0.5, 0, 1) * np.minimum(radius, 1)
    side = np.clip(across / np.maximum(radius, 0.5), -1, 1)
    angle = np.arcsin(side)
    if callable(solid.paint):
        azimuth = (angle - np.float32(pose.yaw + solid.turn) + np.float32(np.pi)) % np.float32(2 * np.pi)
        colour = solid.paint(azimuth - np.float32(np.pi), t)
    else:
        colour = np.array(solid.paint, np.float32)
    shade = 0.76 + 0.3 * np.cos(0.85 * (angle - np.float32(pose.light)))
    patch += cover[..., None] * (colour * shade[..., None] - patch)


def interpolate(t, values):
    """np.interp(t, equal steps from 0 to 1, values) in float32; constant and linear profiles are the common ones."""
    values = np.asarray(values, np.float32)
    if len(values) == 2:
        return values[0] + (values[1] - values[0]) * t
    return np.interp(t, np.linspace(0, 1, len(values)), values).astype(np.float32)
