"""Draw a data set of synthetic people with the layout and file names of Market-1501.

Nothing is downloaded, and no real person is shown.

The same arguments draw the same files, byte for byte, with any number of processes: all random
numbers are seeded by the person, the camera and the moment. figure.py draws the person, and
scenes.py the surroundings.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from person_reid.config.option import FLAGS
from person_reid.device import available_cores
from person_reid.errors import UserError
from person_reid.files import content_of, write_json
from person_reid.progress import progress
from person_reid.synthetic.body import solids_of
from person_reid.synthetic.figure import Array, Person, Pose, draw_solids
from person_reid.synthetic.scenes import (
    BOX,
    Camera,
    camera_of,
    draw_obstacle,
    panorama,
    photograph_scene,
)
from person_reid.text import parse_json

DRAWN_FOLDERS = ("bounding_box_train", "bounding_box_test", "query", "gt_bbox")
MANIFEST = "synthetic.json"
PEOPLE_VERSION = 1  # raise it when a single pixel changes; tests/synthetic/test_pixels.py notices
MOST_PICTURES = 10_000_000
JPEG_END = b"\xff\xd9"
LIMITS = {
    "train_identities": (1, 9999),
    "test_identities": (1, 9999),
    "cameras": (2, 99),
    "images": (1, 999),
    "distractors": (0, MOST_PICTURES),
    "junk": (0, MOST_PICTURES),
    "seed": (0, 2**63 - 1),
}
PICTURES_AT_ONCE = 64  # pictures of one camera that a process draws at a time


@dataclass(frozen=True)
class Drawing:
    """One file in the data set.

    moment: number of the scene; pictures of one moment differ only in their box.
    """

    file: str
    person: int
    camera: int
    moment: int
    box: str  # how it is cropped: detected, by hand, or junk


def draw_data_set(
    root: str | Path,
    train_identities: int = 200,
    test_identities: int = 50,
    cameras: int = 6,
    images: int = 3,
    distractors: int = 300,
    junk: int = 100,
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Draw a data set in the folder `root`, and return the number of pictures drawn.

    train_identities, test_identities: the numbers of people in the two sets, which have nobody in
        common; labels count from 0001, and every camera sees everybody.
    images: pictures of a person per camera, besides the query of a test identity.
    distractors, junk: pictures of other people, labelled 0000, and badly cropped boxes, labelled
        -1, in the gallery.
    workers: number of processes; by default up to one per core.

    A second run changes nothing; after an interruption, it draws what is missing.
    Raises UserError for impossible sizes, and if `root` holds another data set.
    """
    sizes = {
        "train_identities": train_identities, "test_identities": test_identities,
        "cameras": cameras, "images": images, "distractors": distractors, "junk": junk,
        "seed": seed,
    }  # fmt: skip
    check_drawn_sizes(sizes)
    root = Path(root)
    claim(root, {**sizes, "version": PEOPLE_VERSION})
    pictures = list(
        planned_pictures(train_identities, test_identities, cameras, images, distractors, junk)
    )
    missing = [picture for picture in pictures if not is_drawn(root / picture.file)]
    by_camera = [[p for p in missing if p.camera == camera] for camera in range(1, cameras + 1)]
    chunks = [
        (str(root), some[start : start + PICTURES_AT_ONCE], seed)
        for some in by_camera
        for start in range(0, len(some), PICTURES_AT_ONCE)
    ]
    useful = 1 + len(missing) // 500  # a process takes time to start
    return draw_in_processes(draw_chunk, chunks, len(missing), "drawing people", workers, useful)


def draw_in_processes(
    draw: Callable[[Any], int],
    tasks: Sequence[Any],
    total: int,
    desc: str,
    workers: int | None,
    useful: int,
) -> int:
    """Draw `total` images, and return their number.

    draw: draws the images of a task, and returns their number. workers: number of processes; by
    default `useful`, but at most one per core.
    """
    workers = workers or min(useful, available_cores(), 61)  # Windows waits for at most 61
    with (
        progress(total=total, desc=desc, unit=" images") as bar,
        ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool,
    ):
        for drawn in (pool.map if pool else map)(draw, tasks):
            bar.update(drawn)
    return total


def check_drawn_sizes(sizes: dict[str, int]) -> None:
    """Raise UserError for sizes that give no data set or do not fit in its file names."""
    check_limits(sizes)
    trained, tested = sizes["train_identities"], sizes["test_identities"]
    if trained + tested > 9999:
        raise UserError(
            "more than 9999 identities: Market-1501's file names have four digits for them."
        )
    pictures = sizes["cameras"] * (trained * sizes["images"] + 2 * tested * (1 + sizes["images"]))
    pictures += sizes["distractors"] + sizes["junk"]
    if pictures > MOST_PICTURES:
        raise UserError(
            f"{pictures:,} pictures: expected {MOST_PICTURES:,} or fewer. "
            "Draw fewer people or images."
        )


def check_limits(sizes: dict[str, int]) -> None:
    """Raise UserError for a size that is too small or too large on its own."""
    for name, value in sizes.items():
        least, most = LIMITS[name]
        if not least <= value <= most:
            raise UserError(f"{FLAGS.get(name, name)} {value}: expected {least:,} to {most:,}.")


def claim(root: Path, arguments: dict[str, int], folders: Sequence[str] = DRAWN_FOLDERS) -> None:
    """Record in `root` what is drawn there, and create its folders.

    Raises UserError if `root` holds another data set.
    """
    manifest = root / MANIFEST
    if manifest.exists():
        try:
            found = dict(parse_json(content_of(manifest)))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{manifest}: damaged ({error}). Delete {root} and draw it again."
            ) from None
        changes = [
            f"{FLAGS.get(key, key)} {found.get(key)} (asked: {now})"
            for key, now in arguments.items()
            if found.get(key) != now
        ]
        if changes:
            raise UserError(
                f"{root}: holds synthetic people drawn with {', '.join(changes)}. "
                "Delete it or choose another folder."
            )
    elif any((root / folder).exists() for folder in DRAWN_FOLDERS):
        raise UserError(f"{root}: holds a data set that was not drawn here. Choose another folder.")
    elif root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise UserError(f"{root}: is not empty. Choose a new or an empty folder.")
    else:
        write_json(manifest, arguments)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)


def is_drawn(path: Path) -> bool:
    """Return whether a picture is complete.

    A crash of the machine, or a copy, may cut it short.
    """
    if not path.is_file() or path.stat().st_size < len(JPEG_END):
        return False
    with path.open("rb") as file:
        file.seek(-len(JPEG_END), os.SEEK_END)
        return file.read() == JPEG_END


def planned_pictures(
    train_identities: int,
    test_identities: int,
    cameras: int,
    images: int,
    distractors: int,
    junk: int,
) -> Iterator[Drawing]:
    """Yield every picture in the data set.

    Moments are numbered consecutively, so that no two pictures share a file name.
    """
    moments = count(1)

    def picture(
        folder: str, label: str, person: int, camera: int, moment: int, box: str
    ) -> Drawing:
        name = f"{label}_c{camera}s1_{moment:06d}_{'00' if box == 'by hand' else '01'}.jpg"
        return Drawing(f"{folder}/{name}", person, camera, moment, box)

    for person in range(1, train_identities + test_identities + 1):
        label = f"{person:04d}"
        for camera in range(1, cameras + 1):
            if person > train_identities:
                moment = next(moments)
                for folder in ("query", "gt_bbox"):
                    yield picture(folder, label, person, camera, moment, "by hand")
            for _ in range(images):
                moment = next(moments)
                folder = "bounding_box_train" if person <= train_identities else "bounding_box_test"
                yield picture(folder, label, person, camera, moment, "detected")
                if person > train_identities:
                    yield picture("gt_bbox", label, person, camera, moment, "by hand")
    for label, box, number in (("0000", "detected", distractors), ("-1", "junk", junk)):
        for index in range(number):
            moment = next(moments)
            stranger = 10000 + moment
            yield picture("bounding_box_test", label, stranger, 1 + index % cameras, moment, box)


def draw_chunk(task: tuple[str, list[Drawing], int]) -> int:
    """Draw one camera's pictures, and return their number. task: (root, pictures, seed)."""
    root, pictures, seed = task
    camera = camera_of(pictures[0].camera, seed)
    backdrop = np.asarray(panorama(camera, pictures[0].camera, seed))
    for picture in pictures:
        write_drawn(Path(root, picture.file), draw_picture(picture, camera, backdrop, seed))
    return len(pictures)


def write_drawn(path: Path, content: bytes) -> None:
    """Write a picture, completely or not at all, given that no other process draws it."""
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:  # the disk may be full
        temporary.unlink(missing_ok=True)


def draw_picture(picture: Drawing, camera: Camera, backdrop: Array, seed: int) -> bytes:
    """Return one picture as a JPEG. backdrop: the camera's panorama, (H, W, 3) uint8."""
    rng = np.random.default_rng((seed, 3, picture.moment))
    person = Person.draw(np.random.default_rng((seed, 0, picture.person)))
    width, height = BOX
    left = rng.integers(backdrop.shape[1] - width)
    top = rng.integers(backdrop.shape[0] - height)
    canvas = backdrop[top : top + height, left : left + width].astype(np.float32)
    if rng.random() < 0.2:
        far = rng.uniform(0.5, 0.7)
        feet = (rng.uniform(0, width), height * (0.4 + 0.62 * far))
        draw_stranger(canvas, camera, rng, feet, far)
    feet, scale = cut(picture.box, rng)
    draw_walker(canvas, person, camera, rng, feet, scale)
    covered = rng.random() < 0.2
    if covered and camera.obstacle == "passer-by":
        side = rng.choice((-0.08, 1.08))
        draw_stranger(canvas, camera, rng, (width * side, height * 1.04), 1.0)
    scene = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    if covered:
        draw_obstacle(scene, camera.obstacle, rng)
    return photograph_scene(scene, camera, rng)


def cut(box: str, rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Return the (x, y) of a person's feet in a box, and the person's height, in pixels.

    box: as in Drawing.
    """
    width, height = BOX
    scale = rng.uniform(0.9, 1.06)
    x = rng.normal(0, 0.04)
    y = rng.normal(0, 0.015)
    if box == "by hand":
        scale = 0.97 + 0.2 * (scale - 0.97)
        x *= 0.2
        y *= 0.2
    elif box == "junk":
        scale *= rng.choice((0.6, 1.9))
        x += rng.choice((-0.42, 0.42))
        y = rng.uniform(-0.35, 0.8)
    return (width * (0.5 + x), height * (0.945 + y)), 0.9 * height * scale


def draw_walker(
    canvas: Array,
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
    feet: tuple[float, float],
    scale: float,
) -> None:
    """Draw a person who walks past a camera, mostly in that camera's usual direction.

    feet, scale: see cut.
    """
    away = np.pi if rng.random() < 0.15 else 0.0
    pose = Pose(
        yaw=camera.yaw + away + rng.normal(0, 0.35),
        pitch=camera.pitch + rng.normal(0, 0.03),
        phase=rng.uniform(0, 2 * np.pi),
        stride=rng.uniform(0.12, 0.5),
        turn=rng.normal(0, 0.3),
        light=camera.light + rng.normal(0, 0.2),
    )
    draw_solids(canvas, solids_of(person, pose), pose, feet, scale * person.height)


def draw_stranger(
    canvas: Array, camera: Camera, rng: np.random.Generator, feet: tuple[float, float], near: float
) -> None:
    """Draw a passer-by who walks in any direction.

    near: how near the passer-by is; at 1, as near as the person whom the box is for.
    """
    other_way = replace(camera, yaw=rng.uniform(-np.pi, np.pi))
    draw_walker(canvas, Person.draw(rng), other_way, rng, feet, near * 0.9 * BOX[1])
