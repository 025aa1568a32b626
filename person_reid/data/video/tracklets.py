"""Read data sets of tracklets: sequences of frames of one person from one camera.

Each frame becomes an image of the layout whose name contains the tracklet, so that networks train
on frames and test.py --tracks reassembles the tracklets.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from person_reid.data.images.image_files import is_image
from person_reid.data.layout import some_of
from person_reid.data.matlab import read_integers
from person_reid.data.readers import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    PicturesBySplit,
    all_there,
    group,
    read_columns,
    read_lines,
)
from person_reid.errors import UserError
from person_reid.text import counted

MARS_NAMES = "<identity>C<camera>T…, such as 0001C1T0001F001.jpg"
LSVID_NAME = re.compile("[^_]+_[^_]+_([0-9]+)_")
LSVID_NAMES = "<identity>_<tracklet>_<camera>_<frame>"


def read_mars(data_dir: Path) -> PicturesBySplit:
    """Read MARS. A tracklet's number is its row in tracks_train_info or tracks_test_info.

    A row has four numbers: the first and the last line in train_name.txt or test_name.txt that
    names one of its frames, the identity, and the camera. query_IDX names the rows that are
    queries. As in the authors' evaluation, every row of the test set is in the gallery, where a
    query ignores itself as junk; identity 0 is a distractor and -1 junk.

    Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-Identification, ECCV 2016;
    https://github.com/liangzheng06/MARS-evaluation. Raises UserError if the files contradict one
    another.
    """
    info = data_dir / "info"
    splits = {GALLERY: _mars_pictures(data_dir, "test")}
    splits[QUERY] = _queries(info / "query_IDX.mat", "query_IDX", splits[GALLERY])
    if (info / "tracks_train_info.mat").is_file():
        splits[TRAIN] = _mars_pictures(data_dir, "train")
    return all_there(splits, data_dir)


def _mars_pictures(data_dir: Path, part: str) -> list[Picture]:
    """Return the frames of all tracklets in a part, "train" or "test"."""
    file = data_dir / "info" / f"{part}_name.txt"
    names = [line.strip() for line in read_lines(file)]
    rows = read_integers(file.with_name(f"tracks_{part}_info.mat"), f"track_{part}_info")
    pictures = []
    wrong = []
    for number, (first, last, identity, camera) in enumerate(rows.tolist(), 1):
        frames = names[first - 1 : last] if 1 <= first <= last <= len(names) else []
        who = "00-1" if identity == -1 else f"{identity:04d}"
        if not frames or any(not name.startswith(f"{who}C{camera}T") for name in frames):
            wrong.append(f"row {number}: lines {first} to {last}, {who}, camera {camera}")
        pictures += [
            Picture(data_dir / f"bbox_{part}" / who / name, str(identity), str(camera), str(number))
            for name in frames
        ]
    if wrong:
        raise UserError(
            f"tracks_{part}_info.mat: {len(wrong)} of its {len(rows)} tracklets do not fit the "
            f"{len(names)} names of {file} ({MARS_NAMES}). Unpack the download again.\n"
            f"{some_of(wrong, most=5)}"
        )
    return pictures


def read_lsvid(data_dir: Path) -> PicturesBySplit:
    """Read LS-VID. A tracklet's number is its line in list_seq_train.txt or list_seq_test.txt.

    A line contains the beginning of its frames' paths, and the identity. `query` of
    test/data/info_test.mat names the lines that are queries; the gallery is the rest, as in
    published results. The validation list shows further people and is not read.

    Li et al., Global-Local Temporal Representations for Video Person Re-Identification, ICCV 2019.
    Raises UserError if the files contradict one another.
    """
    lists = data_dir / "list_sequence"
    tested = _lsvid_pictures(data_dir, lists / "list_seq_test.txt")
    queries = _queries(data_dir / "test" / "data" / "info_test.mat", "query", tested)
    asked = {picture.track for picture in queries}
    gallery = [picture for picture in tested if picture.track not in asked]
    splits = {QUERY: queries, GALLERY: gallery}
    if (lists / "list_seq_train.txt").is_file():
        splits[TRAIN] = _lsvid_pictures(data_dir, lists / "list_seq_train.txt")
    return splits


def _lsvid_pictures(data_dir: Path, file: Path) -> list[Picture]:
    """Return the frames of all tracklets in a list."""
    lines = [(data_dir / path, identity) for path, identity in read_columns(file)]
    images = {folder: _images_in(folder) for folder in {path.parent for path, _ in lines}}
    pictures = []
    wrong = []
    for number, (path, identity) in enumerate(lines, 1):
        names = [name for name in images[path.parent] if name.startswith(f"{path.name}_")]
        cameras = {match[1] if (match := LSVID_NAME.match(name)) else "" for name in names}
        if "" in cameras or len(cameras) != 1:
            wrong.append(f"line {number}: {path}_…: {counted(len(names), 'frame')}")
        camera = min(cameras, default="")
        pictures += [Picture(path.parent / name, identity, camera, str(number)) for name in names]
    if wrong:
        raise UserError(
            f"{file}: {len(wrong)} of its {len(lines)} tracklets have no frames of one camera, "
            f"named {LSVID_NAMES}. Was the download unpacked completely?\n"
            f"{some_of(wrong, most=5)}"
        )
    return pictures


def _images_in(folder: Path) -> list[str]:
    """Return the sorted names of a folder's images, or an empty list if it does not exist."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(entry.name for entry in entries if is_image(entry.name))


def _queries(file: Path, name: str, tested: Iterable[Picture]) -> list[Picture]:
    """Return the frames of the tracklets whose numbers a file lists."""
    numbers = set(read_integers(file, name).ravel().astype(str).tolist())
    tracks = group(tested, lambda picture: picture.track)
    if not numbers <= tracks.keys():
        raise UserError(
            f"{file}: {len(numbers - tracks.keys())} of its {len(numbers)} queries are not among "
            f"the {len(tracks)} tracklets of the test. Unpack the download again."
        )
    return [picture for track in tracks if track in numbers for picture in tracks[track]]
