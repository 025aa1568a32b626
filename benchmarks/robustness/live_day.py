# PYTHON_ARGCOMPLETE_OK
"""Play a day in front of four live cameras, with synthetic people, as fast as possible.

    python benchmarks/robustness/live_day.py
    python benchmarks/robustness/live_day.py --hours 2 --visitors 40

Every camera delivers a frame every three seconds. Visitors walk past one to four cameras once, and
staff all day. A box is drawn in a colour that identifies its person, and the feature of an image is
that person's, shifted by the camera and at random. Everything else is as in tools/people.py:
streams, tracker, images, links, and a gallery on disk. After a quarter of the day, the process is
stopped and started again. Then a cable is pulled for ten minutes or more. After half of the day,
the process is killed and started again, and later the clock is set back by an hour.

Prints a row for every part of the day: the tracks so far, how many of them were corrected, the IDF1
of the tracks as reported then, the number of people in all tracks so far and the true number, and
the memory of the process. Then it prints the gaps between frames, and how many of the reported
tracks are not in the gallery.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from bisect import bisect
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine, own_peak
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.data.video.streams import Streams, log
from person_reid.errors import UserError
from person_reid.gallery.gallery import growing_gallery
from person_reid.gallery.indexed_tracks import indexed_tracks
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
RESTART, PULLED, KILL, SET_BACK = 1 / 4, 3 / 8, 1 / 2, 5 / 8  # shares of the day
CABLE, AWAY = "rtsp://c1", 600  # the camera without a cable, and for how many seconds
HEADER = ["hour", "tracks", "corrected", "IDF1 of tracks", "people counted", "people", "memory"]


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
        day = Day(options, Path(folder))
        for part in ((0, RESTART), (RESTART, KILL), (KILL, 1)):
            process = multiprocessing.get_context("fork").Process(target=day.play, args=part)
            process.start()
            process.join()
        print("", day.losses(), sep="\n")
    print(f"\n{options.hours} h of {CAMERAS} cameras in {time.perf_counter() - began:.0f} s")


class Day:
    """A simulated day: when each person is in view of each camera, and what was reported."""

    def __init__(self, options, folder):
        self.seconds = options.hours * 3600
        self.index, self.reports = str(folder / "people.index"), folder / "reports.jsonl"
        self.random = np.random.default_rng(options.seed)
        people = STAFF + options.visitors
        self.features = self._unit(self.random.standard_normal((people, DIMENSION)))
        self.shifts = self._unit(self.random.standard_normal((CAMERAS, DIMENSION)))
        self.visits = sorted(self._visits(people))
        self.who: dict[tuple[str, int], int] = {}  # the person of a track in this process
        self.done: dict[str, int] = {}  # of each connected camera, up to when its frames are used
        self.last: dict[str, float] = {}  # when each camera's last frame was
        self.remarks: dict[str, bool] = {}  # in the log of the streams

    def play(self, begin, end):
        """Play the day from fraction `begin` to fraction `end`; at KILL, end at once."""
        self.now, self.end = int(begin * self.seconds), int(end * self.seconds)
        log.addFilter(lambda record: self.remarks.setdefault(record.getMessage(), True))
        addresses = {f"rtsp://c{number}": f"rtsp://c{number}" for number in range(CAMERAS)}
        self.live = LivePeople(self.detect, self.embed, threshold=None)
        self.streams = Streams(addresses, read=self.read, now=self.clock)
        self.stop = partial(os._exit, 1) if end == KILL else self.streams.stop
        kept = LiveGallery(self.live, addresses)
        with growing_gallery(self.index) as index, self.streams, self.reports.open("a") as reports:
            for looked in kept.follow(self.streams, lambda act: act(index), self.look):
                for each in kept.keep(index, looked):
                    true = self.who[each.camera, int(each.track)]
                    facts = (
                        f"{begin} {each.camera} {each.track}",
                        (each.person, true),
                        bool(each.corrected_from),
                        str(each.image),
                    )
                    print(json.dumps(facts), file=reports, flush=True)

    def clock(self):
        """Return the time on this machine's clock, which is set back once."""
        return BEGIN + self.now - 3600 * (self.now >= SET_BACK * self.seconds)

    def read(self, camera, _):
        """Yield a camera's frames, each as soon as all cameras' earlier frames have been used."""
        pulled = PULLED * self.seconds if camera == CABLE else np.inf
        self.done[camera] = self.now
        while not pulled <= self.now < pulled + AWAY:
            second = self.done[camera] + STEP
            self.now = max(self.now, second)
            yield self.frame(second, int(camera[-1])), None
            while min(self.done.values()) < second and not self.streams._stopped.is_set():
                time.sleep(1e-4)
        del self.done[camera]
        raise UserError("the network is unreachable")

    def look(self, frame, seconds, camera):
        """Process a frame, and report any gap before it; stop or be killed when the part ends."""
        gap, self.last[camera] = seconds - self.last.get(camera, seconds), seconds
        if not 0 <= gap <= 3 * STEP:
            said = any(line.startswith(f"camera {camera}: ") for line in self.remarks)
            print(f"a gap of {gap:.0f} s in {camera}: {'said' if said else 'NOT SAID'}", flush=True)
        self.camera, people = int(camera[-1]), self.people_in(frame)
        looked = self.live.feed(frame, seconds, camera)
        for track, box in zip(looked.tracks.tolist(), looked.boxes, strict=True):
            if track >= 0:
                self.who.setdefault((camera, track), people[round((box[0] - 2) / 26)])
        self.done[camera] += STEP
        if self.camera == 0 and self.done[camera] % (self.seconds // 8) == 0:
            print(f"| {' | '.join(self.row(self.done[camera] / 3600))} |", flush=True)
        if self.camera == 0 and self.done[camera] == self.end:
            threading.Timer(self.random.random(), self.stop).start()
        return looked

    def frame(self, second, camera):
        """Return a camera's frame, with the people in view."""
        pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
        first, last = (bisect(self.visits, (each,)) for each in (second - STAY, second + 1))
        for _, where, place, person in self.visits[first:last]:
            if where == camera:
                left = 26 * place + 2
                pixels[20:80, left : left + 20] = (person // 256, person % 256, 200)
                pixels[20:80:4, left : left + 20] = (person // 256, person % 256, 100)
        return pixels

    def people_in(self, frame):
        """Return {place: person} for the people in a frame."""
        row = frame[21, 2 : 26 * PLACES : 26].tolist()
        return {n: 256 * red + green for n, (red, green, blue) in enumerate(row) if blue == 200}

    def detect(self, frame):
        """Return the boxes and scores of the people in view."""
        boxes = [[26 * place + 2, 20, 26 * place + 22, 80] for place in self.people_in(frame)]
        return np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9)

    def embed(self, crops):
        """Return the features of the people that the crops' colours identify."""
        colours = [crop.getpixel((1, 1)) for crop in crops]
        people = [256 * red + green for red, green, _ in colours]
        noise = self._unit(self.random.standard_normal((len(people), DIMENSION)))
        moved = self.features[people] + CAMERA_SHIFT * self.shifts[self.camera] + NOISE * noise
        return self._unit(moved).astype(np.float32)

    def row(self, hour):
        """Return the table's row for everything reported up to `hour`."""
        reports = self.reported()
        said, people = zip(*{track: both for track, both, *_ in reports}.values(), strict=True)
        corrected, score = sum(each[2] for each in reports), identity_f1(people, said).f1
        counts = len(said), corrected, f"{100 * score:.1f}", len({*said}), len({*people})
        return [f"{hour:g}", *map(str, counts), f"{own_peak():.2f} GB"]

    def reported(self):
        """Return (track, (person, true person), whether corrected, image) for every report."""
        return [json.loads(line) for line in self.reports.read_text().splitlines()]

    def losses(self):
        """Describe how many of the reported images and tracks are not in the gallery."""
        images = {Path(image) for *_, image in self.reported()}
        with growing_gallery(self.index) as index:
            known, found = index.abouts([*images]), indexed_tracks(index)[0]
        reported = {(about.source, about.track) for about in known.values()}
        lost = reported - {(each.record.source, str(each.track.number)) for each in found}
        both = f"{len(images - known.keys())} images and {len(lost)} tracks are lost"
        return f"Of {len(images)} reported images of {len(reported)} tracks, {both}."

    def _visits(self, people):
        """Yield (second, camera, place, person) for every visit."""
        last = self.seconds - 4 * 120
        for person in range(people):
            walks = self.seconds // 1800 if person < STAFF else 1
            for start in self.random.uniform(0, last, walks):
                count = int(self.random.integers(1, CAMERAS + 1))
                for number, camera in enumerate(self.random.permutation(CAMERAS)[:count]):
                    place = int(self.random.integers(PLACES))
                    yield int(start) + 60 * number, int(camera), place, person

    def _unit(self, rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    run_script(main)
