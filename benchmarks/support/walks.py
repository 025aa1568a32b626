"""Two striped people who walk through the frames of a camera, and their boxes."""

import numpy as np
from PIL import Image

FRAMES, SIZE = 24, (96, 64)
SCORE = 0.9  # of each box that find_by_colour finds
COLOURS = {7: (220, 60, 40), 12: (40, 90, 220)}


def sides(person, frame):
    """Return a person's left, top, right and bottom, in pixels from 0; people never meet."""
    left, top = (2 * frame, 4) if person == 7 else (90 - 2 * frame, 36)
    return left, top, left + 10, top + 24


def draw_frame(frame):
    """Draw a frame, uint8 (64, 96, 3)."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for person, colour in COLOURS.items():
        left, top, right, bottom = sides(person, frame)
        pixels[top:bottom, left:right] = colour
        pixels[top:bottom:4, left:right] = 255
    return pixels


def write_frames(folder, frames=FRAMES):
    """Write the frames as images."""
    folder.mkdir(parents=True)
    for frame in range(1, frames + 1):
        Image.fromarray(draw_frame(frame)).save(folder / f"{frame:06d}.png")
    return folder


def write_video(path, frames=FRAMES, rate=10, title="", turn=0, **options):
    """Write the frames as a video with PyAV. turn: how many times to turn them by 90°."""
    import av

    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = SIZE[::-1] if turn % 2 else SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "bf": "2", "g": "8"}
        for frame in range(1, frames + 1):
            pixels = np.ascontiguousarray(np.rot90(draw_frame(frame), turn))
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_tracks(path, frames=range(1, FRAMES + 1), move=(0, 0)):
    """Write the tracks as a tracker would. move: the offset of all boxes in pixels."""
    lines = []
    for frame in frames:
        for person in COLOURS:
            left, top, right, bottom = sides(person, frame)
            place = left + 1 + move[0], top + 1 + move[1], right - left, bottom - top
            lines.append(f"{frame},{person},{','.join(map(str, place))},0.9,-1,-1,-1\n")
    path.write_text("".join(lines))
    return path


def shows(path):
    """Return the person in a crop, judging by its median colour."""
    with Image.open(path) as image:
        middle = np.median(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    return min(COLOURS, key=lambda person: np.abs(middle - COLOURS[person]).sum())


def find_by_colour(frame):
    """Find the people by their colours, as a detector would, even after compression."""
    boxes = []
    for colour in COLOURS.values():
        near = np.abs(frame.astype(int) - colour).max(axis=2) < 50
        y, x = np.nonzero(near)
        if len(x) > 20:
            boxes.append([x.min(), y.min() - 1, x.max() + 1, y.max() + 1])
    return boxes, [SCORE] * len(boxes)
