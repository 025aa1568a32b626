# PYTHON_ARGCOMPLETE_OK
"""Kill tools/people.py repeatedly, and compare its output with that of an undisturbed run.

    python benchmarks/robustness/people_kills.py              # 30 kills
    python benchmarks/robustness/people_kills.py --kills 5 --seed 1

Two people walk past two cameras, of which one is a video and one a folder of frames. A call is
killed with SIGKILL at one of its next write operations, as in kills.py, and repeated, up to three
times. The last call is not killed. The folder must then hold the same files as after an undisturbed
call, bit for bit, and the gallery must hold the same images with the same features and attributes.
POSIX only.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.robustness.kills import contents, count_acts, kill, require, undisturbed
from benchmarks.support.parser import Parser
from benchmarks.support.walks import find_by_colour, write_frames, write_video
from person_reid import files
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex
from person_reid.progress import progress
from person_reid.video.detectors import register_detector
from tools import people

SHOP = "shop"
CALL = [
    *("hall.mp4", "yard", "--save", SHOP, "--fps", "10", "--start", "2026-11-01T09:30"),
    *("--detector", "colours", "--threshold", "0.99", "--gpu_ids", "-1"),
    *("--backbone", "osnet_x0_25", "--weights", "none", "--height", "64", "--width", "32"),
]
MOST_IN_A_ROW = 3  # kills of one folder


def main(argv=None):
    """Print how many kills there were, and what was being written."""
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=int, default=30, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other moments")
    options = parser.parse_args(argv)
    random.seed(options.seed)
    torch.set_num_threads(1)
    files.ABANDONED = 0  # so that the next process removes what one left behind
    register_detector("colours", lambda device: find_by_colour)
    call = partial(people.main, CALL)
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        write_video(workspace / "hall.mp4")
        write_frames(workspace / "yard")
        undisturbed(call, workspace)
        expected = state_of(workspace / SHOP)
        shutil.rmtree(workspace / SHOP)
        acts = count_acts(call, workspace)
        with progress(total=options.kills, desc="kills") as bar:
            while bar.n < options.kills:
                shutil.rmtree(workspace / SHOP, ignore_errors=True)
                most = min(MOST_IN_A_ROW, options.kills - bar.n)
                bar.update(kill(call, workspace, random.randint(1, most), acts))
                found = state_of(workspace / SHOP)
                wrong = [n for n in {*found, *expected} if found.get(n) != expected.get(n)]
                require(not wrong, f"{', '.join(map(str, wrong))} differ")
    print(f"{options.kills} kills, {acts} write operations: the same files, images and features.")


def state_of(folder):
    """Return {name: content} for a folder, with the gallery's images in place of its files."""
    state: dict[object, object] = {
        name: content for name, content in contents(folder).items() if ".index" not in name
    }
    index = SearchIndex(folder / "people.index")
    for images, features in index.entries():
        for (path, about), feature in zip(images, features, strict=True):
            state[path.relative_to(folder)] = about, feature.tobytes()
    state["hidden"] = Counter(path.name for path in folder.rglob(".*") if "lock" not in path.name)
    index.close()
    return state


if __name__ == "__main__":
    run_script(main)
