"""Cut people out of tracked videos in MOTChallenge format.

A network can then be trained and tested on your own tracks. A sequence is a folder with the frames
(`img1/000001.jpg`, …) and `gt/gt.txt`, as data/video/track_files.py describes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from person_reid.data.images.image_files import is_image
from person_reid.data.own.folder_or_list import draw_split
from person_reid.data.readers import Picture, PicturesBySplit, files_below
from person_reid.data.video.crops import LEAST_SIDE, cut_box, save_crop
from person_reid.data.video.frames import open_frame
from person_reid.data.video.track_files import Box, formats_of, read_rows
from person_reid.data.video.video_files import Frame, size_of
from person_reid.errors import UserError

# MOT17 has every sequence three times, with the boxes of each detector
DETECTOR = re.compile(r"-(DPM|FRCNN|SDP)$")
OPTIONS_OF_MOT = ("min_visibility", "frame_stride", "classes", "format")


@dataclass(frozen=True)
class Crop:
    """A box in a frame.

    name: `<sequence>_<frame>_<track>.jpg`.
    box: left, top, right, bottom, not clipped yet.
    size: the (width, height) of the frames of its sequence.
    """

    name: str
    frame: Path
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def save(self, path: Path) -> None:
        """Write the crop. Raises UserError if the frame cannot be decoded or has another size."""
        frame = _frame(self.frame)
        if size_of(frame) != self.size:
            found, expected = (f"{width}×{height}" for width, height in (size_of(frame), self.size))
            raise UserError(
                f"{self.frame}: {found} pixels, and the first frame of its sequence has "
                f"{expected}. Replace the frame, "
                "or make sequences of one size each, then run again."
            )
        save_crop(cut_box(frame, self.box), path)


@lru_cache(maxsize=1)  # the layout is written frame by frame
def _frame(path: Path) -> Frame:
    try:
        return open_frame(path)
    except Exception as error:  # Pillow's readers fail in many ways
        raise UserError(
            f"{path}: cannot be decoded ({error}). Replace the frame, then run again."
        ) from error


def read_sequences(
    data_dir: Path,
    min_visibility: float = 0.5,
    frame_stride: int = 10,
    classes: str | None = None,
    format: str | None = None,
    test_fraction: float | None = None,
    seed: int | None = None,
) -> PicturesBySplit:
    """Read the people in all sequences below a folder; a track is an identity, a frame a camera.

    A query therefore finds its person in every other frame. Tracks of different sequences are
    different people. A sequence is named after its folder; if two share a name, all names include
    the parent folders.
    min_visibility: from 0 to 1; less visible boxes are skipped.
    frame_stride: every frame_stride-th frame of a sequence is read, starting with its first.
    classes: the numbers of the classes to read, such as "0" or "1,2,7"; by default people's and -1.
    format: a key of track_files.FORMATS; by default recognised from all sequences together.
    test_fraction, seed: see draw_split.

    Raises UserError if no sequence is found, for an invalid line, and if no box is left.
    """
    found = _sequences(data_dir)
    rows = {file: read_rows(file) for file in found.values()}
    forms = formats_of(rows, format)
    boxes = {file: form.boxes(rows[file]) for file, form in zip(rows, forms, strict=True)}
    people: dict[Path, set[float]] = {}
    for form in dict.fromkeys(forms):  # which logs once what it omits
        files = [file for file, own in zip(rows, forms, strict=True) if own == form]
        wanted = form.classes([box for file in files for box in boxes[file]], classes)
        people |= dict.fromkeys(files, wanted)
    pictures = [
        picture
        for name, file in sorted(found.items())
        for picture in _cut(
            name,
            file,
            [box for box in boxes[file] if box.kind in people[file]],
            min_visibility,
            frame_stride,
        )
    ]
    if not pictures:
        kinds = sorted({box.kind for each in boxes.values() for box in each})
        read = sorted({kind for each in people.values() for kind in each})
        raise UserError(
            f"{data_dir}: no box is left of {len(found)} sequences "
            f"with min_visibility={min_visibility}, frame_stride={frame_stride} "
            f"and the classes {', '.join(f'{kind:g}' for kind in read)} "
            f"of {', '.join(f'{kind:g}' for kind in kinds) or 'no box'}. Try others."
        )
    return draw_split(pictures, test_fraction, seed)


def _sequences(data_dir: Path) -> dict[str, Path]:
    """Return {name: path of gt.txt} for the sequences below a folder.

    Each is read once, even if it exists for several detectors.
    """
    root = data_dir.resolve()
    files = [
        file for file in files_below(root) if file.name == "gt.txt" and file.parent.name == "gt"
    ]
    folders = {
        file.parent.parent.with_name(DETECTOR.sub("", file.parent.parent.name)): file
        for file in files
    }
    found = {folder.name: file for folder, file in folders.items()}
    if len(found) < len(folders):  # monday/cam1 and tuesday/cam1
        found = {
            "-".join(folder.relative_to(root.parent).parts[1:]): file
            for folder, file in folders.items()
        }
    if len(found) < len(folders):
        raise UserError(
            f"{data_dir}: sequences of one name in it, such as {min(found)}. Rename one of them."
        )
    if not found:
        raise UserError(
            f"{data_dir}: no gt/gt.txt at any depth; expected MOTChallenge's train folder."
        )
    return found


def _cut(
    name: str, truth: Path, boxes: list[Box], min_visibility: float, frame_stride: int
) -> Iterator[Picture]:
    """Yield the pictures in a sequence, frame by frame."""
    folder = truth.parent.parent / "img1"
    frames = {
        int(path.stem): path
        for path in files_below(folder)
        if is_image(path.name) and path.stem.isdecimal()
    }
    if not frames:
        raise UserError(
            f"{folder}: no frames in it, such as 000001.jpg. Was the download unpacked completely?"
        )
    first = min(frames)
    shown = _frame(frames[first])
    width, height = size_of(shown)
    for line, frame, track, sides, *_, visibility in boxes:
        within = min(sides[2], width) - max(sides[0], 0), min(sides[3], height) - max(sides[1], 0)
        if (
            (frame - first) % frame_stride
            or 0 <= visibility < min_visibility
            or min(within) < LEAST_SIDE
        ):
            continue
        # -1 marks detections without an identity, which would become one person
        if track < 0 or track % 1:
            raise UserError(
                f"{truth}, line {line}: track {track:g} is not an identity; "
                "expected a whole number of 0 or above. Leave boxes without an identity out."
            )
        if frame not in frames:
            raise UserError(f"{truth}, line {line}: frame {frame:g} is not in {folder}.")
        file = f"{name}_{int(frame):06d}_{int(track)}.jpg"
        crop = Crop(file, frames[int(frame)], sides, (width, height))
        yield Picture(crop, f"{name}-{int(track)}", f"{name}-{int(frame):06d}")
