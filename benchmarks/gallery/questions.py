# PYTHON_ARGCOMPLETE_OK
"""Measure what other questions than a search cost in a large gallery.

    python benchmarks/gallery/questions.py
    python benchmarks/gallery/questions.py --images 10000000 --folder /scratch

The images are made as in benchmarks/gallery/search.py. One person in a hundred has a name. Two
track files add 500 tracks each, of eight images. Every question is asked in its own process, whose
seconds and memory are a row of a Markdown table. POSIX only.
"""

import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import person_reid as reid
from benchmarks.gallery.search import FILTERS, images, new_images, timed
from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.gallery.gallery import nobody_has
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_tracks import cameras_of, indexed_tracks, spans
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.gallery.track_records import TrackRecord, record_tracks
from tools import search

ONE_NAMED_IN = 100  # people
WIDTH = 512
TRACKS, OF_TRACK = 500, 8  # each camera has so many tracks, with so many images
ONE_BY_ONE = 10  # images that are asked about
TWENTY_DAYS = Filter(after="2026-11-11", before="2026-12-01")
SIX_HOURS = FILTERS["one camera, six hours"]


def main(argv=None):
    """Make the index, and print a row for each question."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--images", type=positive(int), default=2_000_000, help="features in the index"
    )
    parser.add_folder()
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "people.index"
        apart(make_index, file, options.images)
        print(f"| {options.images:,} images | seconds | GB of memory |\n|---|---|---|", flush=True)
        for name, question in QUESTIONS.items():
            seconds, gigabytes, found = apart(asked, question, file)
            print(f"| {name}: {found} | {seconds:.1f} | {gigabytes:.2f} |", flush=True)
    print(f"\n{machine()}")


def make_index(file, count):
    """Write an index of made-up images, few of which have names, and of tracks."""
    index = SearchIndex(file)
    for paths, features, abouts in images(count, WIDTH):
        known = [
            about if int(about.identity or 0) % ONE_NAMED_IN == 0 else about._replace(identity=None)
            for about in abouts
        ]
        index.add(paths, features, dict(zip(paths, known, strict=True)))
    people = np.random.default_rng(1).standard_normal((TRACKS, WIDTH), np.float32)
    for camera in ("hall", "door"):
        add_camera(index, camera, file.parent / f"{camera}.txt", people)
    index.prepare()


def add_camera(index, camera, tracks, people):
    """Write a track file, in which track K shows people[K], and add its images to an index."""
    frames = [(K, OF_TRACK * K + i + 1) for K in range(TRACKS) for i in range(OF_TRACK)]
    lines = [f"{frame},{K + 1},10,10,40,80,1,-1,-1,-1\n" for K, frame in frames]
    tracks.write_text("".join(lines))
    record_tracks(
        index,
        TrackRecord(
            camera,
            str(tracks),
            str(tracks.with_suffix(".mp4")),
            camera,
            str(tracks.parent),
            25.0,
            "2026-11-01 08:30:00Z",
            640,
            480,
            None,
        ),
    )
    paths = [f"{camera}/{K:04}_{frame:06}.jpg" for K, frame in frames]
    abouts = [About(camera=camera, track=str(K + 1), source=camera) for K, _ in frames]
    noise = np.random.default_rng(len(camera)).standard_normal((len(paths), WIDTH), np.float32)
    index.add(paths, people.repeat(OF_TRACK, 0) + noise / 2, dict(zip(paths, abouts, strict=True)))


def asked(question, file):
    """Return the seconds of a question, the memory of this process, and what was found."""
    found = ""

    def ask():
        nonlocal found
        found = question(file)

    return timed(ask), own_peak(), found


def identify_among(file, which):
    """Say who the first known person is, by ten new images."""
    index = SearchIndex(file)
    known, features = next(index.entries(replace(which, has_identity=True)))
    person = known[0][1].identity
    people = new_images(np.repeat(features[:1], ONE_BY_ONE, axis=0))
    found = reid.identify(index, [each[None] for each in people], among=which)
    return f"{sum(each.nearest == person for each in found)} of {len(found)} are right"


def identify_widely(file):
    """Name people among the images of twenty days."""
    return identify_among(file, TWENTY_DAYS)


def identify_all(file):
    """Name people among all who have a name."""
    return identify_among(file, EVERYTHING)


def mistyped(file):
    """Search among the images of a camera that there is not."""
    index, which = SearchIndex(file), Filter(camera="33")
    query = np.ones((1, WIDTH), np.float32)
    (found,) = index.search(query, 10, among=which)
    (sentence,) = nobody_has(index, which)
    return f"{len(found)} images, '{sentence}'"


def group_people(file):
    """Group the images of a camera in six hours, as search.py people does."""
    first, last = (getattr(SIX_HOURS, name).replace(" ", "T") for name in ("after", "before"))
    words = ["--camera", SIX_HOURS.camera, "--after", first, "--before", last]
    with redirect_stdout(StringIO()) as printed:
        search.main(
            ["people", "--index", str(file), *words, "--save", str(file.parent / "people.csv")]
        )
    return printed.getvalue().splitlines()[0].partition(": ")[2]


def link_tracks(file):
    """Link tracks of two cameras, as across.py does."""
    tracks, features = indexed_tracks(SearchIndex(file))
    found = reid.link_tracks(features, cameras_of(tracks), *spans(tracks))
    return f"{len(tracks):,} tracks, {len(set(found.labels.tolist()))} people"


QUESTIONS = {
    "`identify` among twenty days": identify_widely,
    "`identify` among all": identify_all,
    "`query` with a mistyped `--camera`": mistyped,
    "`people` of one camera in six hours": group_people,
    "`across`": link_tracks,
}


if __name__ == "__main__":
    run_script(main)
