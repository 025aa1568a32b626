"""MARS in miniature: its lists as its authors write them, with made images."""

import scipy.io

from tests.data.conftest import write_images

# (first, last, identity, camera) of each tracklet, in lines of the list of names; a tracklet of one
# frame, junk and a distractor among them
MARS_TRAIN = [(1, 3, 1, 1), (4, 5, 7, 6)]
MARS_TEST = [
    (1, 3, -1, 1),
    (4, 5, 0, 2),
    (6, 7, 2, 1),
    (8, 10, 2, 1),
    (11, 13, 2, 3),
    (14, 14, 4, 1),
    (15, 17, 4, 2),
]
MARS_QUERIES = [3, 6]


def mars_frames(tracks):
    """The names of the frames of all tracklets, in the order of the list."""
    names = []
    tracklets: dict[tuple[str, int], int] = {}
    for first, last, identity, camera in tracks:
        who = "00-1" if identity == -1 else f"{identity:04d}"
        number = tracklets[who, camera] = tracklets.get((who, camera), 0) + 1
        frames = range(1, last - first + 2)
        names += [f"{who}C{camera}T{number:04d}F{frame:03d}.jpg" for frame in frames]
    return names


def write_mars(folder, train=MARS_TRAIN, tracks=MARS_TEST, queries=MARS_QUERIES):
    """Write the download into a folder, and return it."""
    (folder / "info").mkdir(parents=True)
    parts = {"test": tracks} | ({"train": train} if train else {})
    for part, rows in parts.items():
        names = mars_frames(rows)
        (folder / "info" / f"{part}_name.txt").write_text("\n".join(names) + "\n")
        lists = {f"track_{part}_info": rows}
        scipy.io.savemat(folder / "info" / f"tracks_{part}_info.mat", lists)
        write_images(folder, [f"bbox_{part}/{name[:4]}/{name}" for name in names])
    scipy.io.savemat(folder / "info" / "query_IDX.mat", {"query_IDX": [queries]})
    return folder
