"""Draw a synthetic person: a random appearance, painted on solids of revolution.

A figure is a stack of solids (limbs, torso, head, bags), placed in three dimensions and painted
back to front. The paint is on their surface: a logo turns away with the chest, a backpack shows
from behind, and a shirt looks different from every side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Array

Colour = tuple[int, int, int]

# One small wardrobe for everybody: many people share colours and differ only in cut and pattern. An
# entry that is listed twice is worn twice as often.
WARDROBE = {
    "white": (238, 236, 230),
    "grey": (142, 146, 152),
    "black": (44, 45, 52),
    "red": (206, 52, 54),
    "orange": (240, 142, 52),
    "yellow": (244, 206, 74),
    "green": (58, 146, 88),
    "blue": (52, 106, 196),
    "navy": (40, 54, 102),
    "pink": (240, 146, 172),
    "brown": (128, 86, 58),
}
SKIN = ((255, 219, 186), (236, 188, 146), (198, 140, 98), (146, 96, 64), (96, 62, 44))
HAIR = ((38, 32, 34), (84, 54, 36), (150, 94, 48), (226, 184, 102), (188, 84, 44), (176, 176, 182))
HAIR_STYLES = (
    "short",
    "crop",
    "bob",
    "long",
    "ponytail",
    "bun",
    "curls",
    "bald",
    "beanie",
    "cap",
    "hat",
)
LOWER_PATTERNS = ("plain", "plain", "plain", "stripes", "checks", "seam")
LOWER_CUTS = ("trousers", "trousers", "slim", "shorts", "skirt", "long skirt")
BAGS = ("none", "none", "backpack", "shoulder bag", "hand bag")
SLEEVES = (0.0, 0.75, 0.75, 2.0, 2.0, 2.0)

# Where the second colour of a garment is: azimuth a in radians (0 is the middle of the front), t
# from 0 (top) to 1.
CLOTHES_PATTERNS: dict[str, Callable[[Array, Array], Array]] = {
    "plain": lambda a, t: np.zeros(np.broadcast_shapes(a.shape, t.shape), bool),
    "hoops": lambda a, t: (t * 4 + 0.5) % 1 > 0.5,
    "stripes": lambda a, t: (a * 1.6 + 0.25) % 1 > 0.5,
    "checks": lambda a, t: ((a * 1.3 + 0.25) % 1 > 0.5) ^ ((t * 3) % 1 > 0.5),
    "dots": lambda a, t: (
        (((a * 1.4 + 0.5) % 1 - 0.5) ** 2 * 1.6 + ((t * 4 + 0.3) % 1 - 0.5) ** 2) < 0.1
    ),
    "logo": lambda a, t: (np.abs(a) < 0.62) & (np.abs(t - 0.4) < 0.16),
    "two-tone": lambda a, t: t > 0.52,
    "open": lambda a, t: np.abs(a) < 0.28 + 0.35 * t,
    "yoke": lambda a, t: t < 0.3,
    "band": lambda a, t: np.abs(t - 0.5) < 0.13,
    "sash": lambda a, t: np.abs(np.sin(a / 2 + 0.4) * 0.9 + 0.35 - t) < 0.13,
    "seam": lambda a, t: np.abs(np.abs(a) - np.pi / 2) < 0.35,
}
UPPER_PATTERNS = ("plain", *(name for name in CLOTHES_PATTERNS if name != "seam"))


@dataclass(frozen=True)
class Person:
    """Everything that distinguishes one identity from another.

    Lengths are in body heights, colours are RGB from 0 to 255.
    """

    height: float  # relative to other people
    width: float  # body width, 1 is slim
    leg: float  # from the ground to the hip
    head: float  # radius
    skin: Colour
    hair: Colour
    hair_style: str
    hat: Colour
    upper: Colour
    upper_second: Colour
    upper_pattern: str
    sleeve: float  # in half arms
    hem: float  # how far the upper garment falls below the hip
    lower: Colour
    lower_second: Colour
    lower_pattern: str
    lower_cut: str
    shoes: Colour
    boots: bool
    bag: str
    bag_colour: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Person":
        """Draw a person at random."""
        colours = list(WARDROBE.values())
        upper, upper_second = (colours[i] for i in rng.choice(len(colours), 2, replace=False))
        lower, lower_second = (colours[i] for i in rng.choice(len(colours), 2, replace=False))

        def pick(options: Sequence[Any]) -> Any:
            return options[int(rng.integers(len(options)))]

        return cls(
            height=rng.uniform(0.9, 1.06),
            width=rng.uniform(0.98, 1.4),
            leg=rng.uniform(0.44, 0.51),
            head=rng.uniform(0.082, 0.092),
            skin=pick(SKIN),
            hair=pick(HAIR),
            hair_style=pick(HAIR_STYLES),
            hat=pick(colours),
            upper=upper,
            upper_second=upper_second,
            upper_pattern=pick(UPPER_PATTERNS),
            sleeve=pick(SLEEVES),
            hem=pick((0.0, 0.0, 0.0, 0.12)),
            lower=lower,
            lower_second=lower_second,
            lower_pattern=pick(LOWER_PATTERNS),
            lower_cut=pick(LOWER_CUTS),
            shoes=pick(colours),
            boots=rng.random() < 0.2,
            bag=pick(BAGS),
            bag_colour=pick(colours),
        )


Position = Sequence[float] | Array
Fabric = Callable[[Array, Array], Array]  # (azimuth, t) -> RGB (..., 3)
Paint = Colour | Fabric


@dataclass(frozen=True)
class Pose:
    """The pose and the light in which a camera sees a person.

    Angles are in radians; yaw 0 faces the camera, yaw pi/2 the right of the image.
    """

    yaw: float = 0.0
    pitch: float = 0.0  # the camera looks down by this much
    phase: float = 0.0  # position in the walking cycle; one cycle is 2 pi
    stride: float = 0.45  # the largest swing of a thigh
    turn: float = 0.0  # the head relative to the body
    light: float = -0.6  # where the light comes from; 0 is the camera, negative is the left

    def project(self, point: Position) -> Array:
        """Project (x left, y up, z forward) to (x, y, nearness), all in body heights.

        y is up; the feet are near 0.
        """
        x, y, z = point
        across = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        near = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        perspective = 1 + 0.5 * np.sin(self.pitch) * (y - 0.5)
        return np.array((across * perspective, y * perspective - near * np.sin(self.pitch), near))


@dataclass(frozen=True, eq=False)
class Solid:
    """A solid of revolution.

    start, end: the ends of its axis, in body coordinates. radii: at equal steps along the axis.
    paint: RGB, or a function of (azimuth, t) that returns RGB (..., 3); t is 0 at the start and 1
        at the end.
    cap: how far the ends bulge, in radii. flat: depth divided by width. nearer: nearness added for
        the order of painting.
    """

    start: Position
    end: Position
    radii: Position
    paint: Paint
    cap: float = 1.0
    flat: float = 1.0
    nearer: float = 0.0
    turn: float = 0.0


def draw_solids(
    canvas: Array, solids: Sequence[Solid], pose: Pose, feet: tuple[float, float], scale: float
) -> None:
    """Paint a figure onto `canvas` in place, with its lowest point on the ground.

    canvas: (H, W, 3) float32, 0 to 255. feet: (x, y) in pixels of the ground below the body's
    middle, perhaps outside the canvas. scale: pixels per unit of the solids' coordinates.
    """
    draw_shadow(canvas, feet, scale)
    for solid, ends, breadth in placed(solids, pose):
        start, end = (np.array((feet[0] + scale * x, feet[1] - scale * y)) for x, y, _ in ends)
        paint_solid(canvas, start, end, np.multiply(solid.radii, scale * breadth), solid, pose)


def placed(
    solids: Sequence[Solid], pose: Pose
) -> Iterator[tuple[Solid, tuple[Array, Array], float]]:
    """Yield the solids of a figure on the ground, from the farthest to the nearest.

    Each comes with its projected ends, and the factor by which its radii appear in this pose.
    """
    ground = min(min(solid.start[1], solid.end[1]) for solid in solids)
    for solid in sorted(
        solids,
        key=lambda solid: pose.project(np.add(solid.start, solid.end) / 2)[2] + solid.nearer,
    ):
        start, end = (pose.project((x, y - ground, z)) for x, y, z in (solid.start, solid.end))
        yield solid, (start, end), np.hypot(np.cos(pose.yaw), solid.flat * np.sin(pose.yaw))


def extent(solids: Sequence[Solid], pose: Pose) -> Array:
    """Return a figure's (left, top, right, bottom) in units of the solids' coordinates.

    (0, 0) is the ground below the body's middle, and y is down, as in a picture.
    """
    points = []
    for solid, ends, breadth in placed(solids, pose):
        start, end = (np.array((x, -y)) for x, y, _ in ends)
        length = float(np.hypot(*(end - start)))
        along = (end - start) / length if length > 1e-4 else np.array((0.0, 1.0))
        radii = np.multiply(solid.radii, breadth)
        axis = start + np.linspace(0, 1, len(radii))[:, None] * (end - start)
        side = radii[:, None] * (-along[1], along[0])
        points += [axis - side, axis + side]
        points += [[start - solid.cap * radii[0] * along, end + solid.cap * radii[-1] * along]]
    edge = np.concatenate(points)
    return np.concatenate((edge.min(axis=0), edge.max(axis=0)))


def draw_shadow(canvas: Array, feet: tuple[float, float], scale: float) -> None:
    """Darken the ground around the feet with a soft ellipse; draw_solids explains the arguments."""
    across, deep = 0.2 * scale, 0.035 * scale
    left, right = (
        int(np.clip(feet[0] + sign * 2 * across, 0, canvas.shape[1])) for sign in (-1, 1)
    )
    top, bottom = (int(np.clip(feet[1] + sign * 2 * deep, 0, canvas.shape[0])) for sign in (-1, 1))
    x = (np.arange(left, right, dtype=np.float32) - np.float32(feet[0])) / np.float32(across)
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(feet[1])) / np.float32(deep)
    dark = 0.5 * np.exp(-2 * (x[None] ** 2 + y[:, None] ** 2))
    canvas[top:bottom, left:right] *= 1 - dark[..., None]


def paint_solid(
    canvas: Array, start: Array, end: Array, radii: Array, solid: Solid, pose: Pose
) -> None:
    """Blend one solid into the canvas in place, shaded like a lit cylinder, with smooth edges.

    start, end: (2,) the ends of its axis, (x, y) in pixels; radii: (K,) in pixels.
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
        azimuth = (angle - np.float32(pose.yaw + solid.turn) + np.float32(np.pi)) % np.float32(
            2 * np.pi
        )
        colour = solid.paint(azimuth - np.float32(np.pi), t)
    else:
        colour = np.array(solid.paint, np.float32)
    shade = 0.76 + 0.3 * np.cos(0.85 * (angle - np.float32(pose.light)))
    patch += cover[..., None] * (colour * shade[..., None] - patch)


def interpolate(t: Array, values: npt.ArrayLike) -> Array:
    """Return np.interp(t, equal steps from 0 to 1, values) in float32, fast for two values."""
    values = np.asarray(values, np.float32)
    if len(values) == 2:
        return np.asarray(values[0] + (values[1] - values[0]) * t)
    return np.asarray(np.interp(t, np.linspace(0, 1, len(values)), values), np.float32)
