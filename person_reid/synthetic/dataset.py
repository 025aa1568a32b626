"""A data set of synthetic people in Market-1501's own layout and naming: nothing to download, nobody's photograph.

The same arguments draw the same files, byte for byte, by any number of processes. Every picture has a random generator
of its own, seeded by what the picture is; who is in it (people.py), what surrounds them (scenes.py) and how they are
painted (figure.py) follow from that.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from person_reid.basics import UserError, atomic_write, progress
from person_reid.synthetic.body import solids_of
from person_reid.synthetic.figure import Pose, draw_solids
from person_reid.synthetic.people import Person
from person_reid.synthetic.scenes import BOX, camera_of, draw_obstacle, panorama, photograph

FOLDERS = ("bounding_box_train", "bounding_box_test", "query", "gt_bbox")
MANIFEST = "synthetic.json"
VERSION = 1  # a change of a single pixel raises it
CHUNK = 64  # pictures of one camera drawn by one process at a time


@dataclass(frozen=True)
class Picture:
    """One file of the data set. moment: numbers what happened before a camera; box: how it is cut out of that."""

    file: str
    person: int
    camera: int
    moment: int
    box: str  # detected, by hand, or junk


def draw_data_set(
    root,
    train_identities=200,
    test_identities=50,
    cameras=6,
    images=3,
    distractors=300,
    junk=100,
    seed=0,
    workers=None,
):
    """Draw a data set into the folder `root`: bounding_box_train, bounding_box_test, query and gt_bbox.

    train_identities, test_identities: people, disjoint, numbered from 0001. cameras: each sees every person. images:
    pictures of a person by a camera, the query of a test identity comes on top. distractors: pictures of other people
    in the gallery, labelled 0000; junk: badly cut boxes there, labelled -1. workers: processes, all cores by default.

    A second run changes nothing; one after an interruption draws what is missing. Returns the number of pictures drawn.
    Raises UserError for sizes that make no data set, and where `root` holds anything but this data set.
    """
    sizes = {
        "train_identities": train_identities,
        "test_identities": test_identities,
        "cameras": cameras,
        "images": images,
        "distractors": distractors,
        "junk": junk,
        "seed": seed,
    }
    check_sizes(sizes)
    root = Path(root)
    claim(root, {**sizes, "version": VERSION})
    pictures = list(plan(train_identities, test_identities, cameras, images, distractors, junk))
    missing = [picture for picture in pictures if not is_drawn(root / picture.file)]
    by_camera = [[p for p in missing if p.camera == camera] for camera in range(1, cameras + 1)]
    chunks = [
        (str(root), some[start : start + CHUNK], seed) for some in by_camera for start in range(0, len(some), CHUNK)
    ]
    workers = workers or min(os.cpu_count() or 1, 1 + len(missing) // 500)  # a few are drawn before a process starts
    with progress(total=len(missing), desc="drawing people", unit="image") as bar:
        if workers <= 1:
            for chunk in chunks:
                bar.update(draw_chunk(chunk))
        else:
            with ProcessPoolExecutor(workers) as pool:
                for drawn in pool.map(draw_chunk, chunks):
                    bar.update(drawn)
    return len(missing)


def check_sizes(sizes):
    """Refuse, with a UserError, sizes that make no data set or do not fit Market-1501's names."""
    least = {"train_identities": 1, "test_identities": 1, "cameras": 2, "images": 1}
    for name, value in sizes.items():
        if value < least.get(name, 0):
            raise UserError(f"{name} {value}: expected {least.get(name, 0)} or more.")
    if sizes["train_identities"] + sizes["test_identities"] > 9999:
        raise UserError("more than 9999 identities: Market-1501's names have four digits for them.")


def claim(root, arguments):
    """Note in `root` what is drawn there; refuse a folder that holds another data set."""
    manifest = root / MANIFEST
    if manifest.is_file():
        check_same(root, read_manifest(manifest), arguments)
    elif any((root / folder).exists() for folder in FOLDERS):
        raise UserError(f"{root}: holds a data set that was not drawn here. Choose another folder.")
    else:
        with atomic_write(manifest) as temporary:
            temporary.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
    for folder in FOLDERS:
        (root / folder).mkdir(exist_ok=True)


def read_manifest(manifest):
    """The arguments that a folder was drawn with. Raises UserError for a damaged file."""
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{manifest}: damaged ({error}). Delete {manifest.parent} and draw it again.") from None


def check_same(root, found, arguments):
    """Refuse to draw into a folder that was drawn with other arguments, naming those that differ."""
    asked = [(key, found.get(key), value) for key, value in arguments.items() if found.get(key) != value]
    if asked:
        changes = ", ".join(f"{key} {before} (asked: {now})" for key, before, now in asked)
        raise UserError(f"{root}: holds synthetic people drawn with {changes}. Delete it or choose another folder.")


def is_drawn(path):
    """Is the picture there, and not emptied by a crash of the machine?"""
    return path.is_file() and path.stat().st_size > 0


def plan(train_identities, test_identities, cameras, images, distractors, junk):
    """Every Picture of the data set. Frames are counted through, so that no two moments share a name."""
    moments = count(1)

    def picture(folder, label, person, camera, moment, box):
        suffix = 0 if box == "by hand" else 1
        return Picture(f"{folder}/{label}_c{camera}s1_{moment:06d}_{suffix:02d}.jpg", person, camera, moment, box)

    for person in range(1, train_identities + test_identities + 1):
        label = f"{person:04d}"
        for camera in range(1, cameras + 1):
            if person > train_identities:
                moment = next(moments)
                for folder in ("query", "gt_bbox"):
                    yield picture(folder, label, person, camera, moment, "by hand")
            for _ in range(images):
                moment = next(moments)
                if person <= train_identities:
                    yield picture("bounding_box_train", label, person, camera, moment, "detected")
                else:
                    yield picture("bounding_box_test", label, person, camera, moment, "detected")
                    yield picture("gt_bbox", label, person, camera, moment, "by hand")
    for label, box, number in (("0000", "detected", distractors), ("-1", "junk", junk)):
        for index in range(number):
            moment = next(moments)
            stranger = 10000 + moment
            yield picture("bounding_box_test", label, stranger, 1 + index % cameras, moment, box)


def draw_chunk(task):
    """Draw pictures of one camera. task: (root, list of Picture, seed). Returns how many."""
    root, pictures, seed = task
    camera = camera_of(pictures[0].camera, seed)
    backdrop = np.asarray(panorama(camera, pictures[0].camera, seed))
    for picture in pictures:
        path = Path(root, picture.file)
        temporary = path.with_suffix(".partial")
        temporary.write_bytes(draw_picture(picture, camera, backdrop, seed))
        temporary.replace(path)
    return len(pictures)


def draw_picture(picture, camera, backdrop, seed):
    """The JPEG's bytes of one Picture. camera: its Camera; backdrop: (H, W, 3) uint8, its panorama."""
    rng = np.random.default_rng((seed, 3, picture.moment))
    person = Person.draw(np.random.default_rng((seed, 0, picture.person)))
    width, height = BOX
    left, top = rng.integers(backdrop.shape[1] - width), rng.integers(backdrop.shape[0] - height)
    canvas = backdrop[top : top + height, left : left + width].astype(np.float32)
    if rng.random() < 0.2:
        far = rng.uniform(0.5, 0.7)
        draw_stranger(canvas, camera, rng, (rng.uniform(0, width), height * (0.4 + 0.62 * far)), far)
    feet, scale = cut(picture.box, rng)
    draw_walker(canvas, person, camera, rng, feet, scale)
    covered = rng.random() < 0.2
    if covered and camera.obstacle == "passer-by":
        side = rng.choice((-0.08, 1.08))
        draw_stranger(canvas, camera, rng, (width * side, height * 1.04), 1.0)
    scene = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    if covered:
        draw_obstacle(scene, camera.obstacle, rng)
    return photograph(scene, camera, rng)


def cut(box, rng):
    """How a box cuts a person, as a detector does, or a hand, or junk: ((x, y) of the feet, pixels of one height)."""
    width, height = BOX
    scale, x, y = rng.uniform(0.9, 1.06), rng.normal(0, 0.04), rng.normal(0, 0.015)
    if box == "by hand":
        scale, x, y = 0.97 + 0.2 * (scale - 0.97), 0.2 * x, 0.2 * y
    elif box == "junk":
        scale *= rng.choice((0.6, 1.9))
        x, y = rng.choice((-0.42, 0.42)) + x, rng.uniform(-0.35, 0.8)
    return (width * (0.5 + x), height * (0.945 + y)), 0.9 * height * scale


def draw_walker(canvas, person, camera, rng, feet, scale):
    """Draw a person who walks before a camera, mostly the way that people walk there. feet, scale: as of cut."""
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


def draw_stranger(canvas, camera, rng, feet, near):
    """Somebody else walks by, whichever way. near: 1 is as near as the person the box is for."""
    other_way = replace(camera, yaw=rng.uniform(-np.pi, np.pi))
    draw_walker(canvas, Person.draw(rng), other_way, rng, feet, near * 0.9 * BOX[1])
