"""Draw synthetic people at random.

Build, hair, clothes, patterns and bags tell one identity from another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """Everything that tells one identity from another.

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
