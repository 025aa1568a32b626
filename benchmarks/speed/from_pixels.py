# PYTHON_ARGCOMPLETE_OK
"""Time the parts of tools/people.py on a minute of 1080p video at 25 frames per second.

    python prepare.py --synthetic --walks --data_dir walks
    python benchmarks/speed/from_pixels.py --walks walks --every 3 --detector people.onnx \\
      --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth

The video consists of one camera's frames of synthetic walks, each shown for a fifth of a second.
Further flags are passed to tools/people.py. Prints a table in Markdown. CPU seconds do not depend
on other programs. Needs PyAV.
"""

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.video.frames import FrameFolder
from person_reid.text import markdown_table
from person_reid.video.detectors import CheckedDetector
from person_reid.video.tracker import Tracker
from tools import people

SIZE, RATE, SECONDS = (1920, 1080), 25, 60
REPEATED = 5  # the walks have 5 frames per second


def main(argv=None):
    """Make the video, run the command, and print how long each part takes."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, required=True, help="folder of prepare.py --walks")
    parser.add_argument("--camera", default="cam3", help="the camera whose frames are shown")
    options, words = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "street.mp4"
        write_street(video, options.walks / options.camera / "img1", SECONDS * RATE)
        spent = run_timed([str(video), "--save", str(Path(folder) / "found"), *words])
    print(machine(), "", sep="\n")
    rows = [
        [name, *(f"{seconds:.1f}" for seconds in both)] for name, both in by_part(spent).items()
    ]
    print(markdown_table(["part", "seconds", "CPU seconds"], rows))


def write_street(path, frames, count):
    """Write the first frames in a folder as a video of size SIZE."""
    import av

    folder = FrameFolder(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "veryfast"}
        for _, frame in folder.read(folder.numbers[: count // REPEATED]):
            assert frame is not None, f"{frames}: a frame cannot be decoded"
            large = np.asarray(Image.fromarray(frame).resize(SIZE))
            for _ in range(REPEATED):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode())


def run_timed(words):
    """Run the command, and return {part: (seconds, CPU seconds)}."""
    spent: dict = defaultdict(lambda: np.zeros(2))

    def timed(name, function):
        def run(*arguments, **settings):
            began = np.array([time.perf_counter(), time.process_time()])
            try:
                return function(*arguments, **settings)
            finally:
                spent[name] += np.array([time.perf_counter(), time.process_time()]) - began

        return run

    with (
        patch.object(CheckedDetector, "__call__", timed("detector", CheckedDetector.__call__)),
        patch.object(Tracker, "update", timed("tracker", Tracker.update)),
        patch.object(people, "track_video", timed("tracking", people.track_video)),
        patch.object(people, "index_tracks", timed("indexing", people.index_tracks)),
        patch.object(people, "link_people", timed("linking", people.link_people)),
    ):
        timed("all", people.main)(words)
    return spent


def by_part(spent):
    """Return {part: seconds} for parts that do not contain other parts."""
    rest = spent["all"] - spent["tracking"] - spent["indexing"] - spent["linking"]
    return {
        "the whole command": spent["all"],
        "decode frames": spent["tracking"] - spent["detector"] - spent["tracker"],
        "detect people": spent["detector"],
        "track them": spent["tracker"],
        "decode again, cut out and embed": spent["indexing"],
        "link, and write picture, page and table": spent["linking"],
        "open network, detector and video": rest,
    }


if __name__ == "__main__":
    run_script(main)
