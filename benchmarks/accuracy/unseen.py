# PYTHON_ARGCOMPLETE_OK
"""Measure networks on people and cameras that none of them was trained on.

    python benchmarks/accuracy/unseen.py --networks intel_0277 osnet_x0_25_msmt17 \\
      --cuhk01 CUHK01/campus --ilids i-LIDS-VID/images --cuhk03 CUHK03/detected/val \\
      --videos real --market Market-1501-mini

Each folder is optional, and has a column or two in the table. A network is a name or a file, as for
tools/compare_networks.py, with its flags, such as "osnet_x0_25_msmt17 --no_flip". All cells of a
column come from one call, so that they have one protocol:

    CUHK01 (971 people)       query 001 of camera A, gallery 003 and 004 of camera B
    the same, with strangers  the gallery also has the 001 of all people, and so of camera A
    iLIDS-VID (300 people)    one image per camera, query cam1, gallery cam2
    CUHK03, detected          all images are queries and gallery, images 00 to 04 of camera 1
    real cameras              boxes in truth/VIDEO.txt (frame, person, left, top, width, height);
                              all images are queries and gallery
    --market                  query and bounding_box_test of a folder in Market-1501's layout

Matches from the query's own camera are ignored, and AP is trapezoidal. Prints a table in Markdown:
Rank@1 / mAP in per cent.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt

import person_reid as reid
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.console.named_network import network_named
from person_reid.data.layout import parse_names
from person_reid.data.video.frames import open_frames
from person_reid.deploy.find import open_embedder
from person_reid.text import markdown_table

MOST_CROPS = 6  # of a person in a video


class Images(NamedTuple):
    """N images, as paths or arrays, with the identity and the camera of each."""

    images: list[Any]
    labels: npt.ArrayLike
    cameras: npt.ArrayLike


class Protocol(NamedTuple):
    """A column of the table: the rows of its queries and of its gallery among some images."""

    name: str
    images: Images
    query: npt.ArrayLike
    gallery: npt.ArrayLike


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", required=True, help="names or files")
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"images of {name}")
    options = parser.parse_args(argv)
    sets = [
        [*read(getattr(options, name))] for name, read in READERS.items() if getattr(options, name)
    ]
    rows = []
    for name in options.networks:
        embedder = open_embedder(network_named(name, "networks", "-1"))
        cells = [cell for protocols in sets for cell in scores(embedder, protocols)]
        rows.append([f"`{Path(name).name}`", *cells])
    heads = [f"{each.name}: {len(each.query)} queries" for protocols in sets for each in protocols]
    print(machine(), "", markdown_table(["network", *heads], rows), sep="\n")


def scores(embedder, protocols):
    """Yield Rank@1 / mAP, in per cent, for protocols that share their images."""
    images = protocols[0].images
    every = reid.FeatureSet(
        embedder(images.images), np.asarray(images.labels), np.asarray(images.cameras)
    )
    for protocol in protocols:
        metrics = reid.evaluate(every.select(protocol.query), every.select(protocol.gallery))
        yield f"{100 * metrics.rank(1):.1f} / {100 * metrics.mAP:.1f}"


def read_cuhk01(folder):
    """Yield the two protocols of CUHK01, whose files are called 0001001.png to 0971004.png."""
    files = [file for file in sorted(folder.glob("*.png")) if not file.stem.endswith("002")]
    numbers = np.array([int(file.stem[4:]) for file in files])
    every = Images(files, [int(file.stem[:4]) for file in files], 1 + (numbers > 2))
    query, others = np.flatnonzero(numbers == 1), np.flatnonzero(numbers > 2)
    yield Protocol("CUHK01", every, query, others)
    yield Protocol("CUHK01, with strangers", every, query, np.arange(len(files)))


def read_ilids(folder):
    """Yield the protocol of iLIDS-VID's single images, cam1/person001/cam1_person001.png."""
    files = sorted(folder.glob("cam[12]/*/*.png"))
    labels = [int(file.parent.name.removeprefix("person")) for file in files]
    cameras = np.array([int(file.parent.parent.name[3:]) for file in files])
    every = Images(files, labels, cameras)
    yield Protocol("iLIDS-VID", every, np.flatnonzero(cameras == 1), np.flatnonzero(cameras == 2))


def read_cuhk03(folder):
    """Yield the protocol of CUHK03's images, 0000_00.jpg to 0099_09.jpg."""
    files = sorted(folder.glob("*.jpg"))
    who, number = np.array([file.stem.split("_") for file in files], int).T
    yield among_all("CUHK03", Images(files, who, 1 + (number > 4)))


def read_videos(folder):
    """Yield the protocol of boxes cut from VIDEO.mp4 or .avi, named in truth/VIDEO.txt."""
    crops, labels, cameras = [], [], []
    for camera, truth in enumerate(sorted((folder / "truth").glob("*.txt")), 1):
        video = next(file for file in folder.glob(f"{truth.stem}.*") if file.is_file())
        table = np.loadtxt(truth, delimiter=",", usecols=range(6))
        boxes = defaultdict(list)  # by frame
        for who in np.unique(table[:, 1]):
            of_person = table[table[:, 1] == who]
            rows = np.linspace(0, len(of_person) - 1, MOST_CROPS).round().astype(int)
            for frame, _, *box in of_person[np.unique(rows)]:
                boxes[int(frame)].append((int(who), np.maximum(box, 0).round().astype(int)))
        for number, frame in open_frames(video).read(sorted(boxes)):
            assert frame is not None
            for who, (left, top, width, height) in boxes[number]:
                crops.append(frame[top : top + height, left : left + width])
                labels.append(who)
                cameras.append(camera)
    yield among_all("real cameras", Images(crops, labels, cameras))


def read_market(folder):
    """Yield the protocol of a folder in Market-1501's layout."""
    query, gallery = (
        sorted((folder / name).glob("*.jpg")) for name in ("query", "bounding_box_test")
    )
    files = query + gallery
    rows = np.arange(len(files))
    every = Images(files, *parse_names(files))
    yield Protocol(folder.name, every, rows[: len(query)], rows[len(query) :])


def among_all(name, images):
    """Return the protocol in which all images are queries and gallery."""
    rows = np.arange(len(images.images))
    return Protocol(name, images, rows, rows)


READERS = {
    "cuhk01": read_cuhk01, "ilids": read_ilids, "cuhk03": read_cuhk03, "videos": read_videos,
    "market": read_market,
}  # fmt: skip

if __name__ == "__main__":
    run_script(main)
