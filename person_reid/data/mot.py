"""Cut people out of tracked videos in the format of MOTChallenge, to train and test on your own tracks.

A sequence is a folder with the frames (`img1/000001.jpg`, …) and `gt/gt.txt`, with a line for every box:

    frame, track, left, top, width, height, confidence, class, visibility

The first pixel of a frame is 1, 1. Lines of confidence 0 are to be ignored. The class is 1 for a pedestrian; a class or
visibility that is missing or -1 is not known.

Dendorfer et al., MOTChallenge: A Benchmark for Single-Camera Multiple Target Tracking, IJCV 2021.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from person_reid.basics import UserError
from person_reid.data.images import is_image, open_image
from person_reid.data.own import draw_split
from person_reid.data.readers import Picture, Splits, files_below

PEDESTRIAN = 1
DETECTOR = re.compile(r"-(DPM|FRCNN|SDP)$")  # MOT17 has every sequence three times, with the boxes of each detector
FLAGS = ("min_visibility", "frame_stride")
LEAST_SIDE = 8  # pixels of a box within the frame


@dataclass(frozen=True)
class Crop:
    """A box of a frame.

    name: `<sequence>_<frame>_<track>.jpg`. box: left, top, right, bottom, not clipped yet. size: the (width, height)
    of the frames of its sequence.
    """

    name: str
    frame: Path
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def save(self, path: Path) -> None:
        """Write it as JPEG. Raises UserError if the frame cannot be decoded or has another size."""
        frame = _frame(self.frame)
        if frame.size != self.size:
            found, expected = (f"{width}×{height}" for width, height in (frame.size, self.size))
            raise UserError(
                f"{self.frame}: {found} pixels, and the first frame of its sequence has {expected}. Replace the frame, "
                "or make sequences of one size each, then run again."
            )
        left, top, right, bottom = (round(side) for side in self.box)
        box = max(left, 0), max(top, 0), min(right, frame.width), min(bottom, frame.height)
        frame.crop(box).save(path, format="JPEG", quality=95, subsampling=0)


@lru_cache(maxsize=1)  # the layout is written frame by frame
def _frame(path: Path) -> Image.Image:
    try:
        with open_image(path) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow's readers fail in many ways
        raise UserError(f"{path}: cannot be decoded ({error}). Replace the frame, then run again.") from error


def read_tracks(
    data_dir: Path,
    min_visibility: float = 0.5,
    frame_stride: int = 10,
    test_fraction: float | None = None,
    seed: int | None = None,
) -> Splits:
    """Read the people of all sequences below a folder. A track is an identity, a frame a camera.

    So a query finds its person in every other frame. Tracks of different sequences are different people. A sequence
    has the name of its folder; if two share a name, every sequence's name includes the folders above it.
    min_visibility: boxes that are less visible, from 0 to 1, are left out.
    frame_stride: every frame_stride-th frame of a sequence is read, from its first on.
    test_fraction, seed: see draw_split.

    Raises UserError if there is no sequence, if a line makes no sense, and if no box is left.
    """
    if not 0 <= min_visibility <= 1:
        raise UserError(f"--min_visibility {min_visibility}: expected a number from 0 to 1.")
    if frame_stride < 1:
        raise UserError(f"--frame_stride {frame_stride}: expected a number above 0.")
    found = _sequences(data_dir)
    pictures = [
        picture
        for name, file in sorted(found.items())
        for picture in _read_sequence(name, file, min_visibility, frame_stride)
    ]
    if not pictures:
        raise UserError(
            f"--data_dir {data_dir}: no box is left of {len(found)} sequences with --min_visibility {min_visibility} "
            f"and --frame_stride {frame_stride}. Try a lower one."
        )
    return draw_split(pictures, test_fraction, seed)


def _sequences(data_dir: Path) -> dict[str, Path]:
    """Return {name: gt.txt} of the sequences below a folder; each is read once, whatever its detectors."""
    root = data_dir.resolve()
    files = [file for file in files_below(root) if file.name == "gt.txt" and file.parent.name == "gt"]
    folders = {file.parent.parent.with_name(DETECTOR.sub("", file.parent.parent.name)): file for file in files}
    found = {folder.name: file for folder, file in folders.items()}
    if len(found) < len(folders):  # monday/cam1 and tuesday/cam1
        found = {"-".join(folder.relative_to(root.parent).parts[1:]): file for folder, file in folders.items()}
    if len(found) < len(folders):
        raise UserError(
            f"--data_dir {data_dir}: sequences of one name in it, such as {min(found)}. Rename one of them."
        )
    if not found:
        raise UserError(f"--data_dir {data_dir}: no gt/gt.txt at any depth; expected MOTChallenge's train folder.")
    return found


def _read_sequence(name: str, truth: Path, min_visibility: float, frame_stride: int) -> Iterator[Picture]:
    """Yield the pictures of a sequence, frame by frame."""
    folder = truth.parent.parent / "img1"
    frames = {int(path.stem): path for path in files_below(folder) if is_image(path.name) and path.stem.isdecimal()}
    if not frames:
        raise UserError(f"{folder}: no frames in it, such as 000001.jpg. Was the download unpacked completely?")
    first = min(frames)
    with open_image(frames[first]) as image:
        width, height = image.size
    for number, text in enumerate(truth.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        try:
            values = [float(value) for value in text.split(",")] if text.strip() else [0.0] * 9
            frame, track, *box, confidence = values[:7]
            left, top, across, down = box
            if not all(map(math.isfinite, values)):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{truth}, line {number}: expected frame,track,left,top,width,height,confidence and perhaps class and "
                f"visibility, found {text[:60]!r}."
            ) from None
        kind, visibility = [*values[7:9], -1.0, -1.0][:2]
        left, top = left - 1, top - 1  # the first pixel has the number 1
        sides = left, top, left + across, top + down
        within = min(sides[2], width) - max(left, 0), min(sides[3], height) - max(top, 0)
        if confidence <= 0 or kind not in (PEDESTRIAN, -1) or (frame - first) % frame_stride:
            continue
        if 0 <= visibility < min_visibility or min(within) < LEAST_SIDE:
            continue
        if track < 0 or track % 1:  # -1 is what detections without an identity have; they would become one person
            raise UserError(
                f"{truth}, line {number}: track {track:g} is not an identity; expected a whole number of 0 or above. "
                "Leave boxes without an identity out."
            )
        if frame not in frames:
            raise UserError(f"{truth}, line {number}: frame {frame:g} is not in {folder}.")
        crop = Crop(f"{name}_{int(frame):06d}_{int(track)}.jpg", frames[int(frame)], sides, (width, height))
        yield Picture(crop, f"{name}-{int(track)}", f"{name}-{int(frame):06d}")
