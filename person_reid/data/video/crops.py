"""Cut people out of frames: a few images that represent each track.

A track is divided into as many parts as it should have images. The boxes of a part that show most
of the person are candidates: large, inside the frame, and not covered by other people. The frames
are read once, and the sharpest candidate of each part becomes a file.
"""

import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from person_reid.arrays import Labels
from person_reid.data.video.frames import FrameFolder, Video, remark_on_broken
from person_reid.data.video.tracked_boxes import Track, shared_area
from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError
from person_reid.files import make_folder, remove_abandoned
from person_reid.progress import progress
from person_reid.text import counted

LEAST_SIDE = 8  # pixels of a box within the frame
DECODED_BOXES = 3  # boxes of a part that are decoded
LEAST_UNCOVERED = 0.05  # share of a box that counts as seen even if other boxes cover it
SHARPNESS_SIZE = (32, 64)  # (width, height) at which images are compared
MOST_OUTSIDE = 0.2  # share of boxes whose middle may be outside the frames without a remark
CROP_NAME = re.compile(r"(\d{6,})_(\d{6,})(?:_(-?\d+)_(-?\d+)_(-?\d+)_(-?\d+))?\.jpg")
BoxArray = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """A box that may become an image.

    seen: how much of the person is visible, in pixels.
    """

    track: int
    part: int
    frame: int
    box: tuple[float, float, float, float]
    seen: float


def within(tracks: Sequence[Track], frames: FrameFolder | Video) -> list[Track]:
    """Return the tracks, without boxes that come after the last frame.

    The log counts these, and warns if tracks and frames hardly match.
    Raises UserError if no box is left.
    """
    last = max(int(track.frames[-1]) for track in tracks)
    left = [_until(track, frames.last) for track in tracks]
    left = [track for track in left if len(track.frames)]
    total, kept = (sum(len(track.frames) for track in some) for some in (tracks, left))
    if kept < total:
        said = (
            f"{frames.path}: ends with frame {frames.last}, and the tracks with {last}. Is it "
            "another video, cut short, or of another frame rate?"
        )
        if not kept:
            raise UserError(said)
        log.warning("%s %s skipped.", said, counted(total - kept, "box", "boxes"))
    elif last < frames.last / 2:
        log.warning(
            "%s: ends with frame %d, and the tracks with %d. If the tracker has seen fewer frames "
            "in a second, say how many: --fps.",
            frames.path,
            frames.last,
            last,
        )
    boxes = np.concatenate([track.boxes for track in left])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    outside = ((middle < 0) | (middle > frames.size)).any(1).mean()
    if outside > MOST_OUTSIDE:
        log.warning(
            "%s: %.0f %% of the boxes lie outside its frames of %d×%d pixels. Are the tracks of "
            "another video, or of another size?",
            frames.path,
            100 * outside,
            *frames.size,
        )
    return left


def _until(track: Track, last: int) -> Track:
    """Return a track without its boxes after frame `last`."""
    inside = track.frames <= last
    return replace(track, frames=track.frames[inside], boxes=track.boxes[inside])


def choose_boxes(
    tracks: Sequence[Track], size: tuple[int, int], per_track: int, folder: Path
) -> list[Candidate]:
    """Return the candidates of all tracks, ordered by frame.

    The log counts tracks that have none.

    size: the (width, height) of the frames. per_track: the number of parts, and thus of images, of
    a track. folder: where the images will be. Parts that have an image there get no candidates.
    """
    cut = {number_and_frame(path) for path in cut_images(folder, tracks)}
    found, unseen = [], 0
    for track, seen in zip(tracks, seen_pixels(tracks, size), strict=True):
        unseen += not seen.any()
        for part, places in enumerate(np.array_split(np.arange(len(seen)), per_track)):
            if any((track.number, frame) in cut for frame in track.frames[places].tolist()):
                continue
            best = places[np.argsort(-seen[places], kind="stable")][:DECODED_BOXES].tolist()
            for place in (place for place in best if seen[place]):
                frame, box = int(track.frames[place]), tuple(track.boxes[place].tolist())
                found.append(Candidate(track.number, part, frame, box, float(seen[place])))
    if unseen:
        log.warning(
            "%s without a box of at least %d×%d pixels within the frames skipped.",
            counted(unseen, "track"),
            LEAST_SIDE,
            LEAST_SIDE,
        )
    return sorted(found, key=lambda each: each.frame)


def seen_pixels(tracks: Sequence[Track], size: tuple[int, int]) -> list[BoxArray]:
    """Return, for each track, how much of the person each of its B boxes shows, as (B,).

    It is the square root of the area within the frame, in pixels, times the shares of the box that
    are within the frame and not covered. A person who stands lower in the image is nearer, and
    covers others. It is 0 for a box that is less than LEAST_SIDE pixels high or wide within the
    frame.
    """
    boxes = np.concatenate([track.boxes for track in tracks])
    frames = np.concatenate([track.frames for track in tracks])
    inside = np.clip(boxes, 0, np.tile(size, 2))
    sides = np.clip(inside[:, 2:] - inside[:, :2], 0, None)
    area = sides.prod(1)
    whole = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1)
    covered = np.zeros(len(boxes))
    order = np.argsort(frames, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(frames[order])) + 1):
        covered[places] = _covered(inside[places], boxes[places, 3])
    seen = np.sqrt(area) * area / whole * np.maximum(1 - covered, LEAST_UNCOVERED)
    seen[sides.min(1) < LEAST_SIDE] = 0
    return np.split(seen, np.cumsum([len(track.frames) for track in tracks])[:-1])


def _covered(boxes: BoxArray, bottoms: BoxArray) -> BoxArray:
    """Return, for each box (n, 4) in a frame, the share that nearer boxes cover, at most 1.

    bottoms: (n,), the lower edges, also for people whose feet are outside the frame.
    """
    common = shared_area(boxes[:, None], boxes[None])
    nearer = bottoms[:, None] < bottoms[None]
    areas = np.maximum(common.diagonal(), 1)
    return np.minimum((common * nearer).sum(1) / areas, 1)


def cut_boxes(frames: FrameFolder | Video, candidates: Sequence[Candidate], folder: Path) -> int:
    """Write the sharpest candidate from each part of a track as an image; return the image count.

    candidates: in the order of their frames.

    Each image is written completely or not at all, as soon as the last candidate of its part is
    read. The log lists the frames that cannot be decoded.
    """
    make_folder(folder)
    remove_abandoned(folder.glob(".*.partial"))
    of_frames = {number: list(found) for number, found in groupby(candidates, attrgetter("frame"))}
    last = {(each.track, each.part): each for each in candidates}
    best: dict[tuple[int, int], tuple[float, int, Image.Image]] = {}
    broken, count = [], 0
    bar = progress(frames.read([*of_frames]), total=len(of_frames), desc="cutting", unit=" frames")
    for number, frame in bar:
        if frame is None:
            broken.append(number)
        for each in of_frames[number]:
            key = each.track, each.part
            if frame is not None:
                crop = cut_box(frame, each.box)
                score = each.seen * sharpness(crop)
                if key not in best or score > best[key][0]:
                    best[key] = score, number, crop
            if each is last[key] and key in best:
                _, chosen, crop = best.pop(key)
                write_crop(crop, folder / crop_name(each.track, chosen))
                count += 1
    remark_on_broken(frames.path, broken)
    return count


def crop_name(track: int, frame: int, box: Sequence[float] = ()) -> str:
    """Return the file name for a track's image from a frame; CROP_NAME matches such names.

    box: left, top, right and bottom, for an image that no track file lists.
    """
    return f"{track:06d}_{frame:06d}{''.join(f'_{round(side)}' for side in box)}.jpg"


def number_and_frame(path: Path) -> tuple[int, int]:
    """Return the track and frame numbers that cut_boxes wrote into an image's name."""
    track, frame, *_ = path.stem.split("_")
    return int(track), int(frame)


class CropTracks(NamedTuple):
    """The T tracks shown in N images that cut_boxes wrote.

    labels: (N,), the track of each image. frames: (N,), the frame from which each was cut. apart:
    (T, T), symmetric, whether two tracks of one folder overlap in time, and therefore show two
    people.
    """

    labels: Labels
    frames: Labels
    apart: npt.NDArray[np.bool_]


def tracks_of_crops(paths: Sequence[Path]) -> CropTracks | None:
    """Return the tracks that image names give, or None unless cut_boxes named all the images."""
    if not all(CROP_NAME.fullmatch(path.name) for path in paths):
        return None
    folders = {
        folder: place for place, folder in enumerate(sorted({path.parent for path in paths}))
    }
    named = np.array([(folders[path.parent], *number_and_frame(path)) for path in paths])
    tracks, labels = np.unique(named[:, :2], axis=0, return_inverse=True)
    first, last = np.full(len(tracks), np.iinfo(np.int64).max), np.zeros(len(tracks), np.int64)
    np.minimum.at(first, labels, named[:, 2])
    np.maximum.at(last, labels, named[:, 2])
    together = (first[:, None] <= last) & (first <= last[:, None])
    apart = together & (tracks[:, :1] == tracks[:, 0]) & ~np.eye(len(tracks), dtype=bool)
    return CropTracks(labels, named[:, 2], apart)


def cut_images(folder: Path, tracks: Iterable[Track]) -> list[Path]:
    """Return the images of these tracks that cut_boxes wrote into a folder."""
    numbers = {track.number for track in tracks}
    named = (path for path in folder.glob("*_*") if CROP_NAME.fullmatch(path.name))
    return sorted(path for path in named if number_and_frame(path)[0] in numbers)


def cut_box(frame: Frame, box: Sequence[float]) -> Image.Image:
    """Return the part of a frame inside a box, after rounding and clipping the box."""
    left, top, right, bottom = (round(side) for side in box)
    return Image.fromarray(frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)])


def write_crop(crop: Image.Image, path: Path) -> None:
    """Write an image, completely or not at all."""
    own = secrets.token_hex(4)  # another process may cut the same track
    temporary = path.with_name(f".{path.name}.{own}.partial")
    try:
        save_crop(crop, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_crop(crop: Image.Image, path: Path) -> None:
    """Write an image as a JPEG file."""
    crop.save(path, format="JPEG", quality=95, subsampling=0)


def sharpness(image: Image.Image) -> float:
    """Return the standard deviation of an image's Laplacian, in grey levels, at a common size.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (its square).
    """
    grey = image.convert("F").resize(SHARPNESS_SIZE, Image.Resampling.BOX)
    values = np.asarray(grey, np.float64)
    middle = values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return float((around - 4 * middle).std())
