"""Have synthetic people walk through several cameras' views, and track them imperfectly.

    draw_walks("data/walks", identities=60, cameras=3)

Each camera gets a folder in MOTChallenge format: the frames, the truth, and the output of a tracker
with the usual faults. An identity of the truth is one person in all cameras, but a track of the
tracker is valid only in its own camera. The cameras start at different times, and people take time
to walk from one to the next. The same arguments write the same files, as in dataset.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from person_reid.files import write_csv, write_text
from person_reid.synthetic.body import solids_of
from person_reid.synthetic.dataset import (
    check_limits,
    claim,
    draw_in_processes,
    is_drawn,
    write_drawn,
)
from person_reid.synthetic.figure import Array, Person, Pose, draw_solids, extent
from person_reid.synthetic.scenes import PANORAMA, camera_of, panorama, photograph_scene

WALKS_VERSION = 1  # raise it when a file of a walk changes
SCENE = (960, 540)  # width and height in pixels while a frame is drawn; it is halved at the end
FPS = 5
BEGIN = datetime(2026, 1, 5, 9)  # when the first camera starts
DELAY = 5  # seconds from the start of one camera to the start of the next

# Everybody walks straight ahead on the ground. Lengths are in body heights.
HORIZON = 0.37 * SCENE[1]  # pixels from the top
ABOVE = 1.25  # the camera's height above the ground
FOCAL = 1.2 * SCENE[1]  # in pixels
FARTHEST = 5.5  # from the camera; nobody is seen beyond
INSIDE = 0.6  # share of a figure within the frame from which a person counts as in it
LEAST_VISIBLE = 0.3  # share of a figure; people who show less are neither in the truth nor tracked
SPEED = 0.8  # per second
CYCLE, POSES = 0.85, 8  # the length of two steps, and how many figures are drawn of them
FIGURE = 256  # pixels of a body height in a drawn figure
SHADOW_MARGIN = 40  # pixels around it, in which its shadow fades

PAUSE_BETWEEN_PEOPLE = 2.0  # seconds from one person's first appearance to the next person's
LEAST_TRAVEL = 6.0  # the minimum, in seconds, from a camera to the one numbered next to it
RETURN = 0.25  # share of the people who come back to the camera that saw them first

# The faults of the tracker.
MISS = 0.03  # share of the remaining boxes that it misses
BOX_JITTER = 0.02  # standard deviation of the sides of a box, in its widths and heights
TRACKER_PATIENCE = 5  # frames; a person unseen for longer gets a new track
FRAGMENT = 0.02  # the chance of a new track at every box
CROSSING, SWITCH = 0.3, 0.1  # two boxes of this IoU swap their tracks with this chance

FRAMES_AT_ONCE = 100  # frames of one camera that a process draws at a time

# Streams of random numbers, apart from the other modules' streams.
WALK = 4
TRACKER = 5
EXPOSURE = 6


@dataclass(frozen=True)
class Passage:
    """One walk of a person through the view of a camera.

    x, z: the middle of the path, to the right of the camera and in front of it.
    middle, enter, leave: seconds after BEGIN.
    """

    person: int
    look: Person
    camera: int
    pose: Pose
    x: float
    z: float
    middle: float = 0.0
    enter: float = -np.inf
    leave: float = np.inf


class Sight(NamedTuple):
    """A passage as it appears in one frame.

    step: which of its POSES. scale: pixels per body height in the scene. sides: left, top, right
    and bottom of the figure in the scene, perhaps outside of it. visible: the share of the figure
    within the frame.
    """

    passage: Passage
    step: int
    scale: float
    sides: Array
    visible: float

    @property
    def box(self) -> Array:
        """The box around the figure's part within the frame: left, top, right, bottom in pixels."""
        return np.clip(self.sides, 0, SCENE * 2) / 2


def draw_walks(
    root: str | Path,
    identities: int = 60,
    cameras: int = 3,
    seed: int = 0,
    seconds: float = np.inf,
    workers: int | None = None,
) -> int:
    """Draw people who walk through cameras' views, and return the number of frames drawn.

    identities: number of people, each of whom passes every camera, in any order.
    seconds: when the cameras stop, at the latest; by default when the last person has left.
    workers: number of processes; by default up to one per core.

    `root` gets a folder for each camera, `cam1` and so on, with frames in `img1`, the truth in
    `gt/gt.txt`, the tracker's `tracks.txt`, and `seqinfo.ini`. `cameras.csv` gives the start of
    each camera, and `travel.csv` the minimum seconds from one camera to another. A second run draws
    nothing; after an interruption, it draws what is missing.
    Raises UserError for impossible sizes, and if `root` holds something else.
    """
    sizes = {"train_identities": identities, "cameras": cameras, "seed": seed}
    check_limits(sizes)
    root = Path(root)
    folders = [f"cam{i + 1}/{part}" for i in range(cameras) for part in ("gt", "img1")]
    claim(root, {**sizes, "walks": WALKS_VERSION}, folders)
    walks = list(passages(identities, cameras, seed))
    last = min(seconds, max(passage.leave for passage in walks))
    tasks = []
    for number in range(1, cameras + 1):
        here = [passage for passage in walks if passage.camera == number]
        frames = [sights(here, time) for time in np.arange(start_of(number), last, 1 / FPS)]
        write_walks(root / f"cam{number}", frames, np.random.default_rng((seed, TRACKER, number)))
        files = [root / f"cam{number}/img1/{i:06d}.jpg" for i in range(1, len(frames) + 1)]
        missing = [pair for pair in zip(files, frames, strict=True) if not is_drawn(pair[0])]
        tasks += [
            (number, missing[start : start + FRAMES_AT_ONCE], seed)
            for start in range(0, len(missing), FRAMES_AT_ONCE)
        ]
    write_clocks(root, cameras)
    total = sum(len(task[1]) for task in tasks)
    return draw_in_processes(draw_frames, tasks, total, "drawing walks", workers, len(tasks))


def start_of(camera: int) -> float:
    """Return when a camera starts, in seconds after BEGIN."""
    return DELAY * (camera - 1)


def travel(camera: int, other: int) -> float:
    """Return the minimum number of seconds that a person needs from one camera to another."""
    return LEAST_TRAVEL * abs(camera - other)


def passages(identities: int, cameras: int, seed: int) -> Iterator[Passage]:
    """Yield the passages: person by person, each from camera to camera."""
    for person in range(1, identities + 1):
        rng = np.random.default_rng((seed, WALK, person))
        look = Person.draw(rng)  # somebody who is not in the data set of this seed
        way = [1 + int(index) for index in rng.permutation(cameras)]
        if rng.random() < RETURN:
            way.append(way[0])
        now = PAUSE_BETWEEN_PEOPLE * (person - 1 + rng.random())
        for number, before in zip(way, [way[0], *way], strict=False):
            now += travel(number, before) * rng.uniform(1, 1.6)
            passage = walk_past(person, look, number, seed, rng)
            seen = [t for t in np.arange(-15, 15, 1 / FPS) if sight(passage, t)]
            middle = now - seen[0]
            yield replace(passage, middle=middle, enter=now, leave=middle + seen[-1])
            now = middle + seen[-1]


def walk_past(
    person: int, look: Person, number: int, seed: int, rng: np.random.Generator
) -> Passage:
    """Return the Passage of a person past a camera, mostly in the camera's usual direction."""
    camera = camera_of(number, seed)
    away = np.pi if rng.random() < 0.15 else 0.0
    pose = Pose(
        yaw=camera.yaw + away + rng.normal(0, 0.25),
        pitch=camera.pitch,
        stride=rng.uniform(0.3, 0.5),
        turn=rng.normal(0, 0.2),
        light=camera.light,
    )
    return Passage(person, look, number, pose, x=rng.uniform(-0.8, 0.8), z=rng.uniform(2.8, 4.6))


def sights(passing: Sequence[Passage], time: float) -> list[Sight]:
    """Return the people who are in view `time` seconds after BEGIN, the farthest first."""
    present = (
        sight(passage, time) for passage in passing if passage.enter <= time <= passage.leave
    )
    seen = sorted((each for each in present if each), key=lambda each: each.scale)
    covered = np.zeros((SCENE[1] // 2, SCENE[0] // 2), bool)
    for index in reversed(range(len(seen))):
        left, top, right, bottom = seen[index].box.round().astype(int)
        free = ~covered[top:bottom, left:right]
        seen[index] = seen[index]._replace(visible=seen[index].visible * free.mean())
        covered[top:bottom, left:right] = True
    return seen


def sight(passage: Passage, time: float) -> Sight | None:
    """Return the Sight of a passage at a time, or None if the person is mostly out of view.

    A point on the ground at distance z is FOCAL / z · ABOVE below the horizon.
    """
    walked, yaw = SPEED * (time - passage.middle), passage.pose.yaw
    x, z = passage.x + walked * np.sin(yaw), passage.z - walked * np.cos(yaw)
    if not 0 < z < FARTHEST:
        return None
    scale, step = FOCAL / z, int(walked // (CYCLE / POSES)) % POSES
    feet = SCENE[0] / 2 + scale * x, HORIZON + scale * ABOVE
    sides = np.tile(feet, 2) + scale * figure_extent(passage.look, passage.pose, step)
    found = Sight(passage, step, scale, sides, 1.0)
    visible = area(2 * found.box) / area(sides)
    return found._replace(visible=visible) if visible >= INSIDE else None


def area(sides: Array) -> float:
    """Return the area of a box given as left, top, right, bottom."""
    return float((sides[2] - sides[0]) * (sides[3] - sides[1]))


def iou(box: Array, other: Array) -> float:
    """Return the intersection of two boxes divided by their union."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (area(box) + area(other) - shared)


def write_walks(folder: Path, frames: Sequence[Sequence[Sight]], rng: np.random.Generator) -> None:
    """Write the ground truth for a camera's frames, and the tracker's output."""
    truth = [
        mot_line(number, each.passage.person, each.box, f"1,1,{each.visible:.2f}")
        for number, seen in enumerate(frames, 1)
        for each in seen
        if each.visible >= LEAST_VISIBLE
    ]
    found = [
        mot_line(number, track, box, f"{rng.uniform(0.6, 1):.2f},-1,-1,-1")
        for number, track, box in tracked(frames, rng)
    ]
    write_text(folder / "gt" / "gt.txt", "".join(truth))
    write_text(folder / "tracks.txt", "".join(found))
    sequence = f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={FPS}\n"
    sequence += f"seqLength={len(frames)}\nimWidth={SCENE[0] // 2}\nimHeight={SCENE[1] // 2}\n"
    write_text(folder / "seqinfo.ini", sequence + "imExt=.jpg\n")


def mot_line(frame: int, track: int, box: Array, rest: str) -> str:
    """Return a box's line in MOTChallenge format, in which the first pixel is (1, 1)."""
    left, top, right, bottom = box
    sides = f"{left + 1:.1f},{top + 1:.1f},{right - left:.1f},{bottom - top:.1f}"
    return f"{frame},{track},{sides},{rest}\n"


def tracked(
    frames: Sequence[Sequence[Sight]], rng: np.random.Generator
) -> Iterator[tuple[int, int, Array]]:
    """Yield (frame, track, box) as a tracker with the usual faults would find them."""
    tracks: dict[int, int] = {}  # the current track of a person
    last: dict[int, int] = {}  # the frame in which a person was last found
    most = 0
    for number, seen in enumerate(frames, 1):
        found = {
            each.passage.person: each.box
            for each in seen
            if each.visible >= LEAST_VISIBLE and rng.random() >= MISS
        }
        for person in found:
            late = number - last.get(person, -TRACKER_PATIENCE - 1) > TRACKER_PATIENCE
            if late or rng.random() < FRAGMENT:
                tracks[person] = most = most + 1
            last[person] = number
        for one, other in combinations(found, 2):
            if iou(found[one], found[other]) >= CROSSING and rng.random() < SWITCH:
                tracks[one], tracks[other] = tracks[other], tracks[one]
        for person, box in found.items():
            size = np.tile(box[2:] - box[:2], 2)
            yield number, tracks[person], box + rng.normal(0, BOX_JITTER, 4) * size


def write_clocks(root: Path, cameras: int) -> None:
    """Write when each camera starts, and the minimum time that people need between cameras."""
    numbers = range(1, cameras + 1)
    starts = [(BEGIN + timedelta(seconds=start_of(number))).isoformat() for number in numbers]
    clocks = [(f"cam{number}", FPS, start) for number, start in zip(numbers, starts, strict=True)]
    ways = [(f"cam{i}", f"cam{j}", travel(i, j)) for i, j in combinations(numbers, 2)]
    write_csv(root / "cameras.csv", ("camera", "fps", "start"), clocks)
    write_csv(root / "travel.csv", ("from", "to", "seconds"), ways)


def draw_frames(task: tuple[int, list[tuple[Path, list[Sight]]], int]) -> int:
    """Draw one camera's frames, and return their number. task: (camera, frames, seed)."""
    number, frames, seed = task
    camera = camera_of(number, seed)
    exposure = (seed, EXPOSURE, number)  # the same light and grain in every frame
    wide = PANORAMA[1] * SCENE[0] / SCENE[1]
    left = float(np.random.default_rng(exposure).uniform(0, PANORAMA[0] - wide))
    backdrop = panorama(camera, number, seed).resize(
        SCENE, Image.Resampling.BICUBIC, (left, 0, left + wide, PANORAMA[1])
    )
    for file, seen in frames:
        scene = backdrop.copy()
        for each in seen:
            paste_figure(scene, each)
        write_drawn(file, photograph_scene(scene, camera, np.random.default_rng(exposure)))
    return len(frames)


def paste_figure(scene: Image.Image, each: Sight) -> None:
    """Paste a person into a scene, changing `scene` in place."""
    figure = drawn_figure(each.passage.look, each.passage.pose, each.step)
    zoom = each.scale / FIGURE
    small = figure.resize((round(figure.width * zoom), round(figure.height * zoom)))
    corner = each.sides[:2] - SHADOW_MARGIN * zoom
    scene.paste(small, tuple(corner.round().astype(int).tolist()), small)


@lru_cache(maxsize=10_000)
def figure_extent(look: Person, pose: Pose, step: int) -> Array:
    """Return a figure's left, top, right and bottom relative to its feet, in body heights."""
    pose = replace(pose, phase=2 * np.pi * step / POSES)
    return look.height * extent(solids_of(look, pose), pose)


@lru_cache(maxsize=200)
def drawn_figure(look: Person, pose: Pose, step: int) -> Image.Image:
    """Return a figure with its shadow on a transparent background, in RGBA.

    On a background b, a pixel with colour c and opacity a shows a c + (1 - a) b. Black and white
    backgrounds therefore determine c and a.
    """
    left, top, right, bottom = FIGURE * figure_extent(look, pose, step)
    size = round(bottom - top + 2 * SHADOW_MARGIN), round(right - left + 2 * SHADOW_MARGIN), 3
    pose = replace(pose, phase=2 * np.pi * step / POSES)
    black, white = np.zeros(size, np.float32), np.full(size, 255, np.float32)
    for canvas in (black, white):
        feet = SHADOW_MARGIN - left, SHADOW_MARGIN - top
        draw_solids(canvas, solids_of(look, pose), pose, feet, FIGURE * look.height)
    opacity = 1 - (white - black).mean(axis=2, keepdims=True) / 255
    colour = black / np.maximum(opacity, 1e-6)
    pixels = np.concatenate((colour, 255 * opacity), axis=2).clip(0, 255).round()
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")
