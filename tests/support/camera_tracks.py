"""An index of the tracks of several cameras, without a video."""

import numpy as np
from PIL import Image

from person_reid.gallery.metadata import About
from person_reid.gallery.track_records import TrackRecord, record_tracks

# camera: {track: (person, first frame, last frame)}, at ten frames a second
STAYS = {
    "hall": {1: (0, 1, 40), 2: (1, 24, 60), 5: (0, 61, 90), 7: (3, 200, 230)},
    "yard": {1: (1, 150, 190), 4: (0, 260, 300), 9: (2, 155, 170)},
}
FACES = np.eye(8, dtype=np.float32)


def write_tracks(folder, camera, line="{frame},{track},{left}.50,7,30,60,0.9,-1,-1,-1"):
    """A track file: a box in every frame of a track, a car, and a detection without an identity."""
    lines = [
        (frame, line.format(frame=frame, track=track, left=60 * track))
        for track, (_, first, last) in STAYS[camera].items()
        for frame in range(first, last + 1)
    ]
    lines += [(12, line.format(frame=12, track=-1, left=3))]
    path = folder / f"{camera}.txt"
    path.write_text("".join(f"{each}\r\n" for _, each in sorted(lines)), newline="")
    return path


def fill(index, folder, camera, start="2026-11-01 09:30:00", unseen=(), source=None, faces=None):
    """Put the tracks of a camera into an index, with three images of each."""
    path = write_tracks(folder, camera)
    source = source or f"{camera}-1"
    record = TrackRecord(
        source=source,
        path=str(path),
        frames="",
        camera=camera,
        crops="",
        fps=10.0,
        start=start,
        width=640,
        height=480,
        classes=None,
    )
    record_tracks(index, record)
    known = FACES if faces is None else faces
    random = np.random.default_rng(len(camera) + ord(camera[0]))
    paths = []
    features = []
    abouts = {}
    for track, (person, *_) in STAYS[camera].items():
        for number in range(3 * (track not in unseen)):
            paths.append(folder / f'{camera}_{track}_"{number}".png')
            pixels = random.integers(0, 255, (64, 32, 3), np.uint8)
            Image.fromarray(pixels).save(paths[-1])
            features.append(known[person] + 0.1 * random.normal(size=known.shape[1]))
            abouts[paths[-1]] = About(camera=camera, track=str(track), source=source)
    index.add(paths, np.array(features, np.float32), abouts)
