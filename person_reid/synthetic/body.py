"""Build a synthetic person's body, in a given pose, from solids: limbs, torso, head, hair, bag.

Coordinates: x to the person's left, y up, z forward, in body heights. figure.py chooses the person
and paints the solids. `nearer` puts clothes in front of limbs where the depth of their centres
would not.
"""

from typing import Any

import numpy as np

from person_reid.synthetic.figure import (
    CLOTHES_PATTERNS,
    Array,
    Colour,
    Fabric,
    Paint,
    Person,
    Pose,
    Position,
    Solid,
)

FACE = np.array((46, 30, 30), np.float32)  # eyes and mouth
# Lengths in half legs.
TROUSERS = {"trousers": 2.0, "slim": 2.0, "shorts": 0.85, "skirt": 0.0, "long skirt": 0.0}
SLEEVE_WIDTHS = {"trousers": 0.012, "shorts": 0.01}
HATS = ("beanie", "cap", "hat")


def solids_of(person: Person, pose: Pose) -> list[Solid]:
    """Return the solids of a person in a pose."""
    return [
        *legs(person, pose),
        *torso(person),
        *arms(person, pose),
        *head(person, pose.turn),
        *bag(person),
    ]


def fabric(pattern: str, first: Colour, second: Colour) -> Fabric:
    """Return the paint of a garment: `second` inside the pattern and `first` elsewhere."""
    colours = np.array((first, second), np.float32)
    return lambda azimuth, t: colours[CLOTHES_PATTERNS[pattern](azimuth, t).astype(np.intp)]


def limb(cloth: Paint, skin: Paint, length: float, half: int) -> Paint:
    """Return the paint of one half of a limb; `cloth` covers its first `length` halves (0 to 2).

    half: 0 for the upper half, 1 for the lower half.
    """
    if length >= half + 1:
        return cloth
    if length <= half:
        return skin
    covered, bare = (
        paint if callable(paint) else fabric("plain", paint, paint) for paint in (cloth, skin)
    )
    return lambda a, t: np.where((t + half < length)[..., None], covered(a, t), bare(a, t))


def hanging(angle: float, outwards: float = 0.0) -> Array:
    """Return the direction of a limb that hangs down, swung forward by `angle` radians."""
    return np.array((outwards, -np.cos(angle), np.sin(angle)))


def legs(person: Person, pose: Pose) -> list[Solid]:
    """Return the thighs, shins and shoes, and a skirt or the seat of the trousers.

    The thighs swing in opposite directions.
    """
    cloth = fabric(person.lower_pattern, person.lower, person.lower_second)
    covered, wide = TROUSERS[person.lower_cut], SLEEVE_WIDTHS.get(person.lower_cut, 0.0)
    below = limb(person.skin, person.shoes, 1.45, 1) if person.boots else person.skin
    skirted = covered == 0
    stride, nearer = (0.6 * pose.stride, -0.15) if skirted else (pose.stride, 0.0)
    half = person.leg / 2 - 0.02
    thigh = np.array((0.053, 0.05, 0.042)) * person.width + 0.6 * wide
    shin = np.array((0.042, 0.042, 0.028)) * person.width
    if covered == 2:
        shin += np.array((0.6, 0.8, 1.0)) * wide
    solids = []
    for side, phase in ((1, pose.phase), (-1, pose.phase + np.pi)):
        swing = stride * np.sin(phase)
        bend = stride * (0.25 + 1.1 * max(0.0, np.cos(phase)))
        hip = np.array((side * 0.046 * person.width, person.leg, 0.0))
        knee = hip + half * hanging(swing)
        ankle = knee + half * hanging(swing - bend)
        lift = 0.05 * np.sin(max(0.0, bend - swing) / 2)
        heel = np.add(ankle, (0, -0.008, -0.012))
        toe = np.add(ankle, (side * 0.014, -0.012 - lift, 0.075))
        solids += [
            Solid(hip, knee, thigh, limb(cloth, person.skin, covered, 0), nearer=nearer),
            Solid(knee, ankle, shin, limb(cloth, below, covered, 1), nearer=nearer + 0.002),
            Solid(heel, toe, (0.03, 0.026), person.shoes, nearer=nearer - 0.004),
        ]
    if skirted:
        top = person.leg + 0.045
        length = person.leg * (0.45 if person.lower_cut == "skirt" else 0.8)
        flare = np.array((0.085, 0.1, 0.115, 0.125)) * person.width
        solids.append(
            Solid((0, top, 0), (0, top - length, 0), flare, cloth, cap=0.12, flat=0.85, nearer=0.09)
        )
    else:
        top = person.leg + 0.03
        bottom = person.leg - 0.035
        seat = np.array((0.09, 0.088)) * person.width
        seamless = person.lower if person.lower_pattern == "seam" else cloth
        solids.append(
            Solid((0, top, 0), (0, bottom, 0), seat, seamless, cap=0.5, flat=0.72, nearer=0.03)
        )
    return solids


def torso(person: Person) -> list[Solid]:
    """Return the upper garment with its neckline, and the neck."""
    top = 1 - 2 * person.head - 0.02
    bottom = person.leg - 0.03 - person.hem
    cloth = fabric(person.upper_pattern, person.upper, person.upper_second)
    skin = np.array(person.skin, np.float32)

    def paint(azimuth: Array, t: Array) -> Array:
        neckline = t < 0.075 - 0.09 * np.abs(azimuth)
        return np.where(neckline[..., None], skin, cloth(azimuth, t))

    radii = np.array((0.066, 0.105, 0.113, 0.109, 0.101, 0.094, 0.092, 0.095, 0.1)) * person.width
    return [
        Solid((0, top, 0), (0, bottom, 0), radii, paint, cap=0.15, flat=0.72, nearer=0.1),
        Solid((0, top + 0.04, 0), (0, top - 0.01, 0), (0.03, 0.034), person.skin, nearer=0.099),
    ]


def arms(person: Person, pose: Pose) -> list[Solid]:
    """Return the upper arms, forearms and hands. Arms swing opposite to the legs below them."""
    pattern = (
        person.upper_pattern
        if person.upper_pattern in ("hoops", "stripes", "checks", "dots")
        else "plain"
    )
    sleeve = person.upper_second if person.upper_pattern == "yoke" else person.upper
    cloth = fabric(pattern, sleeve, person.upper_second)
    upper, lower = (
        ((0.036, 0.036, 0.031), (0.031, 0.023))
        if person.sleeve
        else ((0.03, 0.03, 0.026), (0.026, 0.023))
    )
    solids = []
    for side, phase in ((1, pose.phase + np.pi), (-1, pose.phase)):
        swing = 0.9 * pose.stride * np.sin(phase)
        bend = swing + 0.25 + 0.5 * pose.stride * (1 + np.sin(phase))
        shoulder = np.array((side * 0.095 * person.width, 1 - 2 * person.head - 0.06, 0.0))
        elbow = shoulder + 0.155 * hanging(swing, side * 0.2)
        wrist = elbow + 0.135 * hanging(bend, side * 0.06)
        nearer = 0.1 + 0.03 * np.sin(swing)
        solids += [
            Solid(
                shoulder, elbow, upper, limb(cloth, person.skin, person.sleeve, 0), nearer=nearer
            ),
            Solid(elbow, wrist, lower, limb(cloth, person.skin, person.sleeve, 1), nearer=nearer),
            Solid(
                wrist,
                wrist + 0.018 * hanging(bend),
                (0.022, 0.022),
                person.skin,
                nearer=nearer - 0.001,
            ),
        ]
    return solids


def head(person: Person, turn: float) -> list[Solid]:
    """Return the head with its face, hair and hat, turned by `turn` radians from the body."""
    radius = person.head
    steps = np.linspace(-1, 1, 17)
    egg = radius * np.sqrt(1 - steps**2) * np.where(steps > 0, 0.86, 0.9)
    skull = Solid(
        (0, 1, 0), (0, 1 - 2 * radius, 0), egg, face(person), cap=0.02, nearer=0.11, turn=turn
    )
    return [
        skull,
        *hair(person, np.array((0, 1 - radius, 0)), np.array((-np.sin(turn), 0, -np.cos(turn)))),
    ]


def face(person: Person) -> Fabric:
    """Return the paint of the head: skin, hairline or hat, eyes, cheeks and a smile."""
    skin, hair, hat = (
        np.array(colour, np.float32) for colour in (person.skin, person.hair, person.hat)
    )
    style = person.hair_style
    # How far down the hair reaches; 1 is the chin.
    front = {"short": 0.34, "crop": 0.24, "bald": 0.0}.get(style, 0.3)
    back = {"short": 0.62, "crop": 0.5, "bob": 1.1, "long": 1.1, "bald": 0.0}.get(style, 0.66)

    def paint(azimuth: Array, t: Array) -> Array:
        a = np.abs(azimuth)
        hairline = np.where(a < 0.85, front, np.where(a < 1.5, max(back - 0.12, 0.0), back))
        colour = np.where((t < hairline)[..., None], hair, skin)
        if style in HATS:
            colour = np.where((t < 0.36)[..., None], hat, colour)
        cheeks = ((a - 0.72) / 0.22) ** 2 + ((t - 0.67) / 0.09) ** 2 < 1
        colour = np.where(cheeks[..., None], colour * np.array((1, 0.84, 0.82), np.float32), colour)
        eyes = ((a - 0.42) / 0.13) ** 2 + ((t - 0.52) / 0.075) ** 2 < 1
        mouth = (a < 0.28) & (np.abs(t - 0.78 + 0.25 * a**2) < 0.03)
        return np.where((eyes | mouth)[..., None], FACE, colour)

    return paint


def hair(person: Person, middle: Array, back: Array) -> list[Solid]:
    """Return the hair or hat that stands out from the head.

    middle: the centre of the head. back: unit vector to its back.
    """
    radius = person.head
    style = person.hair_style

    def place(behind: float, above: float) -> Array:
        return np.asarray(middle + radius * (behind * back + np.array((0, above, 0))))

    # Start, end, radii, and further properties of the solid.
    shapes: dict[str, tuple[Array, Array, Position, dict[str, float]]] = {
        "bob": (place(0.3, 0.3), place(0.75, -1.1), (0.95, 1.02, 0.8), {"cap": 0.4}),
        "long": (place(0.3, 0.3), place(0.75, -2.6), (0.95, 1.02, 0.8), {"cap": 0.4}),
        "ponytail": (place(0.85, 0.35), place(1.75, -1.35), (0.3, 0.42, 0.15), {}),
        "bun": (place(0.45, 0.95), place(0.45, 0.94), (0.45, 0.45), {}),
        "curls": (place(0.25, 0.25), place(0.25, 0.24), (1.3, 1.3), {"nearer": 0.1}),
        "beanie": (place(0, 1.1), place(0, 1.09), (0.28, 0.28), {}),
        "cap": (
            place(-0.75, 0.42), place(-0.75, 0.3), (0.85, 0.85), {"cap": 0.12, "nearer": 0.13},
        ),
        "hat": (place(0, 0.42), place(0, 0.3), (1.6, 1.6), {"cap": 0.12, "nearer": 0.13}),
    }  # fmt: skip
    if style not in shapes:
        return []
    start, end, radii, options = shapes[style]
    colour = person.hat if style in HATS else person.hair
    return [Solid(start, end, radius * np.array(radii), colour, **{"nearer": 0.11, **options})]


def bag(person: Person) -> list[Solid]:
    """Return the bag, which may be visible from some sides only."""
    shoulder = 1 - 2 * person.head - 0.06
    hip = person.leg
    deep = 0.072 * person.width

    def solid(start: Position, end: Position, radii: Position, **options: Any) -> Solid:
        return Solid(start, end, radii, person.bag_colour, **{"nearer": 0.1, **options})

    strap, right, left = np.multiply((0.06, -0.12, 0.16), person.width)
    solids = {
        "backpack": [
            solid(
                (0, shoulder - 0.015, -deep - 0.045),
                (0, hip + 0.04, -deep - 0.05),
                (0.066, 0.078, 0.082, 0.08),
                cap=0.4,
                flat=0.75,
            ),
            *(
                solid((x, shoulder + 0.01, 0.05), (x, shoulder - 0.15, deep), (0.011, 0.011))
                for x in (-strap, strap)
            ),
        ],
        "shoulder bag": [
            solid(
                (right, hip + 0.05, 0), (right, hip - 0.07, 0), (0.058, 0.06), cap=0.2, nearer=0.16
            ),
            *(
                solid((-0.55 * right, shoulder + 0.02, z), (right, hip + 0.04, z), (0.01, 0.01))
                for z in (-deep, deep)
            ),
        ],
        "hand bag": [
            solid(
                (left, hip - 0.07, 0), (left, hip - 0.15, 0), (0.056, 0.066), cap=0.15, nearer=0.12
            ),
            *(
                solid((left, hip + 0.02, z), (left, hip - 0.08, 1.8 * z), (0.008, 0.008))
                for z in (-0.02, 0.02)
            ),
        ],
    }
    return solids.get(person.bag, [])
