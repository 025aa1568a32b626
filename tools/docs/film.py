"""Draw docs/images/people.webp, a film of what tools/people.py finds in synthetic videos.

python tools/docs/film.py FOLDER

FOLDER contains the output of these commands:

    python ../prepare.py --synthetic --walks
    W=data/walks && python ../tools/people.py $W/cam1/img1 $W/cam2/img1 $W/cam3/img1 \\
      --save walks --tracks $W/cam1/img1=$W/cam1/tracks.txt $W/cam2/img1=$W/cam2/tracks.txt \\
      $W/cam3/img1=$W/cam3/tracks.txt --start $W/cam1/img1=2026-01-05T09:00:00 \\
      $W/cam2/img1=2026-01-05T09:00:05 $W/cam3/img1=2026-01-05T09:00:10

The upper part shows the cameras at one moment; the lower part shows who was where until then.
Boxes, numbers and colours come from the track files of people.py.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.gallery.people_videos import Mark, draw_marks
from person_reid.show.lanes import ink_on, label_font
from person_reid.show.style import MANY

FILM = ROOT / "docs" / "images" / "people.webp"
WALKS, RESULT = Path("data", "walks"), Path("walks", "result")
CAMERAS = {"cam1": 0, "cam2": 5, "cam3": 10}  # when each video begins, in seconds
RATE = 5  # frames per second of the videos
BEGIN, LENGTH, STEP = 62.0, 36.0, 0.4  # seconds of the walks
PACE = 100  # milliseconds for which a picture is shown
WIDTH, GAP, LEFT = 960, 12, 62
ROWS, ROW = 3, 14  # rows of bars in a lane, and the height of each
LANE = ROWS * ROW + 4

Boxes = dict[int, list[tuple[int, list[float]]]]  # {frame: [(person, left top right bottom)]}


def main(folder: Path) -> None:
    """Write the film."""
    seen = {camera: read_people(folder, camera) for camera in CAMERAS}
    order = sorted(
        {person for boxes in seen.values() for row in boxes.values() for person, _ in row}
    )
    colours = {person: MANY[place % len(MANY)] for place, person in enumerate(order)}
    moments = np.arange(BEGIN, BEGIN + LENGTH, STEP).tolist()
    pictures = [picture(folder, seen, colours, now) for now in moments]
    pictures[0].save(
        FILM, save_all=True, append_images=pictures[1:], duration=PACE, loop=0, quality=60, method=4
    )


def read_people(folder: Path, camera: str) -> Boxes:
    """Return the people in a camera's track file, in the folder that people.py wrote."""
    (file,) = folder.joinpath(RESULT).glob(f"{camera}-*.txt")
    boxes: Boxes = defaultdict(list)
    for frame, person, left, top, width, height, *_ in np.loadtxt(file, delimiter=","):
        box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        boxes[int(frame)].append((int(person), box))
    return boxes


def picture(
    folder: Path, seen: dict[str, Boxes], colours: dict[int, str], now: float
) -> Image.Image:
    """Return a picture of what the cameras see at the time `now`, above the lanes up to then."""
    wide = (WIDTH - GAP * (len(seen) - 1)) // len(seen)
    high = wide * 9 // 16
    sheet = Image.new("RGB", (WIDTH, high + GAP + LANE * len(seen)), "white")
    canvas = ImageDraw.Draw(sheet)
    for place, (camera, boxes) in enumerate(seen.items()):
        number = frame_at(camera, now)
        file = folder / WALKS / camera / "img1" / f"{number:06d}.jpg"
        marks = [
            Mark(np.array(box), str(person), colours[person])
            for person, box in boxes.get(number, [])
        ]
        shown = draw_marks(np.asarray(Image.open(file)), marks).resize((wide, high))
        sheet.paste(shown, (place * (wide + GAP), 0))
        lane(canvas, high + GAP + place * LANE, camera, boxes, colours, now)
    return sheet


def lane(
    canvas: ImageDraw.ImageDraw,
    top: int,
    camera: str,
    boxes: Boxes,
    colours: dict[int, str],
    now: float,
) -> None:
    """Draw who was in front of a camera from the beginning of the film until `now`."""
    canvas.text((2, top + LANE / 2), camera, "#444444", label_font(14), anchor="lm")
    canvas.line((LEFT, top + LANE - 3, WIDTH, top + LANE - 3), "#dddddd")
    scale = (WIDTH - LEFT) / LENGTH
    frames: dict[int, list[int]] = defaultdict(list)
    for number in range(frame_at(camera, BEGIN), frame_at(camera, now) + 1):
        for person, _ in boxes.get(number, []):
            frames[person].append(number)
    free = [0.0] * ROWS
    for person, numbers in sorted(frames.items(), key=lambda found: found[1][0]):
        ends = (numbers[0], numbers[-1] + 1)
        left, right = (
            LEFT + ((number - 1) / RATE + CAMERAS[camera] - BEGIN) * scale for number in ends
        )
        row = next((row for row in range(ROWS) if free[row] <= left), ROWS - 1)
        free[row] = right
        upper = top + 1 + row * ROW
        canvas.rectangle((left, upper, right, upper + ROW - 2), colours[person])
        if right - left > 18:
            place = left + 3, upper + ROW / 2 - 1
            canvas.text(place, str(person), ink_on(colours[person]), label_font(10), anchor="lm")
    cursor = LEFT + (now - BEGIN) * scale
    canvas.line((cursor, top, cursor, top + LANE), "#222222")


def frame_at(camera: str, now: float) -> int:
    """Return the number, from 1, of a camera's frame at the time `now`."""
    return round((now - CAMERAS[camera]) * RATE) + 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
