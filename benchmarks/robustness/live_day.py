# PYTHON_ARGCOMPLETE_OK
"""Play a day of four live cameras as fast as the machine can, with synthetic people.

    python benchmarks/robustness/live_day.py
    python benchmarks/robustness/live_day.py --hours 2 --visitors 40

Every camera delivers a frame every three seconds. Visitors walk past one to four cameras once, and
staff all day. A box is drawn in a colour that identifies its person, and the feature of an image is
that person's, shifted by the camera and at random. Everything else is as in tools/people.py:
tracker, images, links, and a gallery on the disk. Prints a row for every part of the day: the
tracks so far, how many of them were corrected, the IDF1 of the tracks as reported then, the number
of people in all tracks so far and the true number, and the memory of the process.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.gallery.gallery import growing_gallery
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.retrieval.identities import identity_f1
from person_reid.text import markdown_table
from person_reid.video.live import LivePeople

CAMERAS, STAFF = 4, 12
DIMENSION = 256  # width of the features
STEP = 3  # seconds from a frame to the next
SIZE = (160, 90)  # width and height of a frame
STAY = 15  # seconds that a person is in view of a camera
PLACES = 6  # side by side, for people who are there at the same time
CAMERA_SHIFT, NOISE = 0.5, 0.9  # lengths of a feature's shifts; the person's part is 1
BEGIN = 1.8e9  # seconds since 1970
HEADER = ["hour", "tracks", "corrected", "IDF1 of tracks", "people said", "people", "memory"]


def main(argv=None):
    """Print a table with a row for every eighth of the day."""
    parser = Parser(__doc__)
    parser.add_argument("--hours", type=positive(int), default=24, help="length of the day")
    parser.add_argument("--visitors", type=positive(int), default=600, help="in the whole day")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another day")
    options = parser.parse_args(argv)
    print(machine(), "", *markdown_table(HEADER, []).splitlines(), sep="\n", flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for row in Day(options).rows(Path(folder)):
            print(f"| {' | '.join(row)} |", flush=True)
    print(f"\n{options.hours} h of {CAMERAS} cameras in {time.perf_counter() - began:.0f} s")


class Day:
    """A simulated day: when each person is in view of which camera, and what was reported."""

    def __init__(self, options):
        self.hours = options.hours
        self.random = np.random.default_rng(options.seed)
        people = STAFF + options.visitors
        self.features = self._unit(self.random.standard_normal((people, DIMENSION)))
        self.shifts = self._unit(self.random.standard_normal((CAMERAS, DIMENSION)))
        self.visits = sorted(self._visits(people))
        self.who: dict[tuple[str, int], int] = {}  # the person of a track
        self.said: dict[tuple[str, int], int] = {}
        self.corrected = 0
        self.there: list[tuple[int, int]] = []  # (place, person) in front of the current camera

    def rows(self, folder):
        """Yield the rows."""
        live = LivePeople(self.detect, self.embed, threshold=None, most=1000)
        kept = LiveGallery(live, {})
        part = self.hours * 3600 // 8
        with growing_gallery(str(folder / "people.index")) as index:
            for second in range(0, self.hours * 3600, STEP):
                for camera in range(CAMERAS):
                    self.camera = camera
                    frame = self.frame(second, camera)
                    looked = live.feed(frame, BEGIN + second + camera / 10, f"c{camera}")
                    self.note(looked)
                    if looked.images or looked.said:
                        kept.keep(index, looked)
                if (second + STEP) % part == 0:
                    yield self.row((second + STEP) / 3600)

    def frame(self, second, camera):
        """Return the frame of a camera, with the people in view."""
        while self.visits and self.visits[0][0] + STAY < second:
            self.visits.pop(0)
        pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
        self.there = []
        for start, where, place, person in self.visits:
            if start > second:
                break
            if where == camera and second <= start + STAY:
                left = 26 * place + 2
                pixels[20:80, left : left + 20] = (person // 256, person % 256, 200)
                pixels[20:80:4, left : left + 20] = (person // 256, person % 256, 100)
                self.there.append((place, person))
        return pixels

    def detect(self, _):
        """Return the boxes of the people in view."""
        boxes = [[26 * place + 2, 20, 26 * place + 22, 80] for place, _ in self.there]
        return np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9)

    def embed(self, crops):
        """Return the features of the people whose colours the crops have."""
        people = [
            int(red) * 256 + int(green) for red, green in (np.asarray(c)[1, 1, :2] for c in crops)
        ]
        noise = self._unit(self.random.standard_normal((len(people), DIMENSION)))
        moved = self.features[people] + CAMERA_SHIFT * self.shifts[self.camera] + NOISE * noise
        return self._unit(moved).astype(np.float32)

    def note(self, looked):
        """Record the true and the reported people of the tracks."""
        for track, box in zip(looked.tracks.tolist(), looked.boxes, strict=True):
            if track >= 0:
                place = round((box[0] - 2) / 26)
                self.who.setdefault((looked.camera, track), dict(self.there)[place])
        for each in looked.said:
            self.said[each.camera, each.track] = each.person
            self.corrected += each.corrected_from is not None

    def row(self, hour):
        """Return the table's row for everything reported up to an hour."""
        names = [*self.said]
        people, said = [self.who[name] for name in names], [self.said[name] for name in names]
        score = identity_f1(people, said).f1
        shares = f"{100 * score:.1f}", str(len({*said})), str(len({*people}))
        return [f"{hour:g}", f"{len(names):,}", str(self.corrected), *shares, resident()]

    def _visits(self, people):
        """Yield (second, camera, place, person) of all visits."""
        last = self.hours * 3600 - 4 * 120
        for person in range(people):
            walks = 2 * self.hours if person < STAFF else 1
            for start in self.random.uniform(0, last, walks):
                count = int(self.random.integers(1, CAMERAS + 1))
                for number, camera in enumerate(self.random.permutation(CAMERAS)[:count]):
                    yield (
                        int(start) + 60 * number,
                        int(camera),
                        int(self.random.integers(PLACES)),
                        person,
                    )

    def _unit(self, rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def resident():
    """Describe the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.0f} MiB"


if __name__ == "__main__":
    run_script(main)
