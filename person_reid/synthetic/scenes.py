"""Draw the scene in front of a synthetic camera, and photograph it.

A scene has a backdrop, obstacles and light; the photograph has the faults of a camera. Everything
is drawn at twice the final size and reduced at the end, so that edges are smooth.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from PIL.ImageDraw import ImageDraw as Draw

BOX = (128, 256)  # width and height in pixels of a box while it is drawn
PANORAMA = (1280, 320)  # width and height in pixels


@dataclass(frozen=True)
class Camera:
    """A camera, whose images share only its backdrop and photographic character."""

    backdrop: str
    obstacle: str
    yaw: float  # direction that people mostly face, radians; 0 is towards the camera
    pitch: float  # how steeply it looks down, radians
    light: float  # where the light comes from, radians; negative is the left
    balance: tuple[float, ...]  # gains of red, green and blue
    gamma: float  # above 1 is darker
    contrast: float
    saturation: float
    blur: float  # radius in pixels of the final image
    noise: float  # standard deviation in grey levels
    quality: int  # of the JPEG


CAMERAS = (
    Camera("street", "pole", 0.0, 0.12, -0.7, (1.04, 1.0, 0.96), 0.95, 1.05, 1.05, 0.0, 3, 92),
    Camera("station", "passer-by", 3.0, 0.26, 0.3, (1.15, 1.0, 0.82), 1.12, 0.95, 0.95, 0.3, 5, 80),
    Camera("campus", "railing", 1.2, 0.18, 0.8, (0.86, 0.98, 1.15), 0.92, 0.85, 0.88, 0.3, 4, 85),
    Camera("park", "hedge", -1.2, 0.08, -0.9, (0.93, 1.1, 0.9), 1.05, 1.08, 0.95, 0.0, 4, 75),
    Camera("market", "bench", 0.6, 0.22, 0.5, (1.08, 0.92, 1.08), 1.2, 1.0, 0.9, 0.3, 6, 75),
    Camera("car park", "pole", 3.6, 0.32, -0.3, (1.0, 1.03, 1.0), 0.78, 0.85, 0.8, 0.4, 5, 70),
)


def camera_of(number: int, seed: int) -> Camera:
    """Return camera `number`, counted from 1.

    The first six are designed by hand; later ones vary them at random.
    """
    camera = CAMERAS[(number - 1) % len(CAMERAS)]
    if number <= len(CAMERAS):
        return camera
    rng = np.random.default_rng((seed, 1, number))
    return replace(
        camera,
        yaw=rng.uniform(-np.pi, np.pi),
        pitch=rng.uniform(0.05, 0.4),
        light=rng.uniform(-1, 1),
        balance=tuple(rng.uniform(0.7, 1.3, 3)),
        gamma=rng.uniform(0.65, 1.5),
        contrast=rng.uniform(0.7, 1.15),
        saturation=rng.uniform(0.5, 1.05),
    )


def panorama(camera: Camera, number: int, seed: int) -> Image.Image:
    """Draw a camera's backdrop, of size PANORAMA.

    Every picture of the camera shows a crop of it.
    """
    rng = np.random.default_rng((seed, 2, number))
    image = Image.new("RGB", PANORAMA)
    BACKDROPS[camera.backdrop](ImageDraw.Draw(image), rng)
    grain = rng.normal(0, 5, (PANORAMA[1] // 2, PANORAMA[0] // 2, 1)).repeat(2, 0).repeat(2, 1)
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(1.2))


def blocks(rng: np.random.Generator, narrow: int, wide: int) -> Iterator[tuple[int, int]]:
    """Divide the panorama into blocks of random width, and yield the (left, right) of each."""
    left = 0
    while left < PANORAMA[0]:
        right = left + between(rng, narrow, wide)
        yield left, right
        left = right


def between(rng: np.random.Generator, low: float, high: float) -> int:
    """Return a random whole number from `low` up to, but not including, `high`."""
    return int(rng.integers(int(low), int(high)))


def tint(rng: np.random.Generator, colour: Sequence[int], spread: float = 18) -> tuple[int, ...]:
    """Return a random colour near `colour`."""
    change = rng.uniform(-spread, spread) + rng.uniform(-0.5 * spread, 0.5 * spread, 3)
    return tuple(int(c) for c in np.clip(np.add(colour, change), 0, 255))


def ground(
    draw: Draw,
    horizon: int,
    far: Sequence[int],
    near: Sequence[int],
    lines: tuple[int, ...] | None = None,
) -> None:
    """Draw the floor, shaded from `far` at the horizon to `near` at the lower edge.

    lines: colour of lines that run into the distance.
    """
    width, height = PANORAMA
    for y in range(horizon, height):
        part = (y - horizon) / (height - horizon)
        colour = tuple(int(f + (n - f) * part) for f, n in zip(far, near, strict=True))
        draw.line((0, y, width, y), fill=colour)
    if lines:
        for x in range(-width, 2 * width, 90):
            draw.line((width / 2 + (x - width / 2) * 0.6, horizon, x, height), fill=lines, width=2)
        for step in range(1, 7):
            y = horizon + (height - horizon) * (step / 7) ** 1.7
            draw.line((0, y, width, y), fill=lines, width=2)


def street(draw: Draw, rng: np.random.Generator) -> None:
    """Draw shop fronts with awnings, and a pavement."""
    awnings = ((196, 66, 60), (52, 112, 92), (226, 178, 76), (60, 88, 150))
    for left, right in blocks(rng, 110, 200):
        draw.rectangle((left, 0, right, 190), fill=tint(rng, (186, 168, 150), 34))
        draw.rectangle((left + 10, 66, right - 34, 172), fill=tint(rng, (88, 108, 122)))
        draw.polygon(
            (left + 14, 172, left + 60, 66, left + 84, 66, left + 38, 172), fill=(120, 142, 154)
        )
        draw.rectangle((right - 28, 78, right - 6, 190), fill=tint(rng, (98, 66, 52), 30))
        colour = awnings[rng.integers(len(awnings))]
        for x in range(left, right, 20):
            fill = colour if (x - left) // 20 % 2 else (236, 230, 220)
            draw.polygon((x + 4, 36, x + 24, 36, x + 20, 70, x, 70), fill=fill)
    ground(draw, 190, (158, 154, 150), (196, 192, 186), (172, 168, 164))
    draw.rectangle((0, 190, PANORAMA[0], 198), fill=(122, 120, 118))


def station(draw: Draw, rng: np.random.Generator) -> None:
    """Draw tiles, posters, columns, and the platform's yellow line."""
    draw.rectangle((0, 0, PANORAMA[0], 170), fill=(206, 212, 206))
    for x in range(0, PANORAMA[0], 24):
        draw.line((x, 0, x, 170), fill=(178, 186, 182))
    for y in range(0, 170, 24):
        draw.line((0, y, PANORAMA[0], y), fill=(178, 186, 182))
    draw.rectangle((0, 96, PANORAMA[0], 116), fill=(70, 122, 116))
    for left, right in blocks(rng, 120, 220):
        draw.rectangle(
            (left + 16, 20, right - 50, 92),
            fill=tint(rng, (160, 140, 126), 60),
            outline=(60, 62, 66),
            width=4,
        )
        draw.ellipse((left + 30, 36, left + 66, 72), fill=tint(rng, (170, 150, 130), 80))
        draw.rectangle((right - 34, 0, right - 10, 186), fill=(126, 134, 140))
        draw.rectangle((right - 34, 0, right - 28, 186), fill=(160, 168, 172))
    ground(draw, 170, (120, 118, 116), (164, 158, 150), (138, 134, 130))
    draw.rectangle((0, 196, PANORAMA[0], 208), fill=(226, 190, 60))


def campus(draw: Draw, rng: np.random.Generator) -> None:
    """Draw a glass building with rows of windows, steps, and a plaza."""
    draw.rectangle((0, 0, PANORAMA[0], 150), fill=(150, 168, 186))
    for left, right in blocks(rng, 50, 70):
        for top in (6, 54, 102):
            draw.rectangle(
                (left + 4, top, right - 4, top + 38), fill=tint(rng, (104, 130, 152), 30)
            )
            draw.line((left + 8, top + 34, left + 30, top + 4), fill=(164, 190, 210), width=4)
    for step in range(5):
        grey = 176 + 9 * step
        draw.rectangle(
            (0, 150 + 10 * step, PANORAMA[0], 160 + 10 * step), fill=(grey, grey, grey - 4)
        )
        draw.line((0, 150 + 10 * step, PANORAMA[0], 150 + 10 * step), fill=(132, 132, 134), width=2)
    ground(draw, 200, (186, 182, 176), (214, 208, 198), (196, 190, 182))
    for left, _ in blocks(rng, 190, 330):
        draw.rectangle((left + 20, 176, left + 76, 204), fill=(134, 110, 90))
        draw.ellipse((left + 12, 126, left + 84, 186), fill=tint(rng, (84, 130, 84)))


def park(draw: Draw, rng: np.random.Generator) -> None:
    """Draw trees, bushes, a lawn and a path."""
    draw.rectangle((0, 0, PANORAMA[0], 130), fill=(196, 214, 226))
    ground(draw, 120, (136, 162, 112), (152, 176, 118))
    for left, right in blocks(rng, 40, 110):
        middle = (left + right) // 2
        size = between(rng, 44, 80)
        draw.rectangle((middle - 7, 40, middle + 7, 156), fill=tint(rng, (104, 78, 58)))
        for _ in range(9):
            x = middle + between(rng, -size // 2, size // 2 + 1)
            y = between(rng, -10, 80)
            r = between(rng, 18, 36)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tint(rng, (88, 128, 84), 24))
    for left, right in blocks(rng, 50, 130):
        draw.ellipse((left - 10, 138, right, 184), fill=tint(rng, (104, 140, 90), 20))
    draw.rectangle((0, 206, PANORAMA[0], 320), fill=(206, 188, 156))
    for _ in range(700):
        x = between(rng, 0, PANORAMA[0])
        y = between(rng, 206, 320)
        draw.ellipse((x, y, x + 5, y + 3), fill=tint(rng, (190, 172, 140), 22))


def market(draw: Draw, rng: np.random.Generator) -> None:
    """Draw stalls with fruit crates under coloured canopies, at dusk."""
    draw.rectangle((0, 0, PANORAMA[0], 200), fill=(84, 74, 92))
    for left, right in blocks(rng, 130, 190):
        canopy = tint(rng, (190, 120, 90), 60)
        draw.polygon((left, 60, left + 24, 10, right - 24, 10, right, 60), fill=canopy)
        draw.rectangle((left + 6, 60, left + 12, 200), fill=(116, 92, 74))
        draw.rectangle((left + 12, 66, right - 8, 120), fill=(106, 92, 104))
        draw.ellipse((left + 50, 66, left + 74, 90), fill=(255, 226, 150))
        for x in range(left + 12, right - 30, 34):
            fruit = tint(rng, (190, 130, 60), 60)
            draw.rectangle((x, 132, x + 30, 176), fill=(140, 106, 72))
            for _ in range(14):
                u = x + between(rng, 0, 24)
                v = between(rng, 126, 152)
                draw.ellipse((u, v, u + 9, v + 9), fill=tint(rng, fruit, 14))
    ground(draw, 190, (112, 100, 98), (150, 134, 124), (128, 114, 110))


def car_park(draw: Draw, rng: np.random.Generator) -> None:
    """Draw parked cars, a brick wall, and white lines on asphalt."""
    draw.rectangle((0, 0, PANORAMA[0], 90), fill=(158, 98, 78))
    for row, y in enumerate(range(0, 90, 12)):
        for x in range(-20 * (row % 2), PANORAMA[0], 40):
            draw.rectangle((x, y, x + 38, y + 10), fill=tint(rng, (166, 102, 82), 12))
    ground(draw, 90, (104, 106, 110), (136, 138, 140))
    for left, right in blocks(rng, 170, 230):
        colour = tint(rng, (140, 136, 140), 80)
        base = 150
        draw.polygon(
            (left + 44, 104, left + 64, 76, right - 66, 76, right - 40, 104), fill=(78, 96, 110)
        )
        draw.rounded_rectangle((left + 14, 100, right - 16, base), 12, fill=colour)
        for x in (left + 46, right - 50):
            draw.ellipse((x - 17, base - 18, x + 17, base + 16), fill=(40, 40, 44))
            draw.ellipse((x - 8, base - 9, x + 8, base + 7), fill=(168, 170, 174))
        draw.polygon(
            (left, 170, left + 8, 170, left - 30, 320, left - 46, 320), fill=(222, 222, 216)
        )


BACKDROPS = {
    "street": street,
    "station": station,
    "campus": campus,
    "park": park,
    "market": market,
    "car park": car_park,
}


def draw_obstacle(image: Image.Image, kind: str, rng: np.random.Generator) -> None:
    """Draw an obstacle in front of the person, changing `image` in place.

    kind: pole, railing, hedge or bench.
    """
    draw = ImageDraw.Draw(image)
    width, height = image.size
    if kind == "pole":
        x = between(rng, 0.1 * width, 0.9 * width)
        wide = between(rng, 10, 18)
        for step in range(wide):
            grey = int(70 + 90 * np.sin(np.pi * (step + 2) / (wide + 4)))
            draw.line((x + step, 0, x + step, height), fill=(grey, grey, grey + 6))
    elif kind == "railing":
        top = between(rng, 0.66 * height, 0.82 * height)
        for x in range(between(rng, 0, 24), width, 24):
            draw.line((x, top, x, height), fill=(66, 72, 80), width=4)
        draw.line((0, top, width, top), fill=(58, 64, 72), width=8)
    elif kind == "hedge":
        top = between(rng, 0.7 * height, 0.86 * height)
        edge = between(rng, -40, 60)
        for _ in range(70):
            x = edge + between(rng, -10, width)
            y = between(rng, top, height)
            draw.ellipse((x - 10, y - 8, x + 10, y + 8), fill=tint(rng, (66, 116, 58), 24))
    elif kind == "bench":
        top = between(rng, 0.64 * height, 0.78 * height)
        left = between(rng, -80, 80)
        for plank in range(3):
            y = top + 14 * plank
            draw.rectangle((left, y, left + 110, y + 9), fill=tint(rng, (146, 100, 62), 8))
        for x in (left + 10, left + 94):
            draw.rectangle((x, top, x + 6, height), fill=(58, 58, 62))


def photograph_scene(scene: Image.Image, camera: Camera, rng: np.random.Generator) -> bytes:
    """Return a camera's JPEG of a scene (an RGB image), at half the scene's size."""
    image = scene.reduce(2)
    if camera.blur:
        image = image.filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.6, 1.3)))
    light = np.asarray(image, np.float32) / 255
    grey = light.mean(2, keepdims=True)
    light = grey + (light - grey) * camera.saturation * rng.uniform(0.9, 1.1)
    slope = np.linspace(-1, 1, light.shape[1])[:, None] * rng.uniform(-0.1, 0.1)
    balance = np.multiply(camera.balance, rng.uniform(0.85, 1.18)) * rng.uniform(0.96, 1.04, 3)
    light = light * (balance + slope)
    light = np.maximum(light, 0) ** (camera.gamma * rng.uniform(0.92, 1.09))
    light = 0.5 + (light - 0.5) * camera.contrast
    pixels = light * 255 + rng.normal(0, camera.noise, light.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=camera.quality)
    return file.getvalue()
