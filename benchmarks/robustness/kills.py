# PYTHON_ARGCOMPLETE_OK
"""Kill processes while they write, and compare their output with that of undisturbed ones.

    python benchmarks/robustness/kills.py
    python benchmarks/robustness/kills.py --what trainings forgetting --kills 20 --seed 1

The processes are training runs, prepare.py, and changes to a search index: additions, new inverted
lists, the features of another network, and forgetting. SIGKILL leaves a process no chance to clean
up. Each process is killed at one of its next write operations, drawn at random: a file opened for
writing, renamed, linked or removed, or an SQLite statement. The next process resumes its work.
After each kill, every checkpoint must be readable and every acknowledged image must be in the
index; at the end, weights, layout and index must equal those of an undisturbed process, and no file
may contain a byte of what was forgotten. POSIX only.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import prepare
import train
from benchmarks.support.parser import Parser
from benchmarks.support.people import write_people
from person_reid import files
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery import index as gallery_index
from person_reid.gallery import indexing, inverted_lists
from person_reid.gallery.image_table import next_file
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.upkeep import faults_of
from person_reid.progress import progress
from tools import search

SIZES = ["--height", "64", "--width", "32", "--batchsize", "8"]
NETWORK = ["--backbone", "osnet_x0_25", "--weights", "none", "--gpu_ids", "-1", *SIZES]
TRAINING = ["--train_all", "--wa", "--arcface", "--erasing_p", "0.5", "--data_dir", "people"]
WRITING = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
PATIENCE = 600.0  # seconds that a process may take
CUT = 40  # images that were cut from two tracks
FEATURES = np.random.default_rng(0).standard_normal((2000, 64), np.float32)
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)


def main(argv=None):
    """Kill the processes of each kind, let them resume, and compare their output."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--what",
        nargs="+",
        choices=KINDS,
        default=[*KINDS],
        help=f"only some of {', '.join(KINDS)}",
        metavar="KIND",
    )
    parser.add_argument("--kills", type=int, help="of each kind (default: 200 trainings, else 50)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other moments")
    options = parser.parse_args(argv)
    random.seed(options.seed)
    torch.set_num_threads(1)
    files.ABANDONED = 0  # so that the next process removes what one left behind
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        write_people(workspace / "people" / "train_all", people=8, images=8)
        for what in options.what:
            print(KINDS[what](workspace, options.kills or (200 if what == "trainings" else 50)))


def kill_trainings(workspace, kills):
    """Kill a training run again and again.

    An epoch writes about a dozen times, so a process completes about half of one.
    """
    flags = [*NETWORK, *TRAINING, "--total_epoch", str(max(4, kills // 2))]
    undisturbed(lambda: train.main([*flags, "--name", "whole"]), workspace)

    def check():
        for file in (workspace / "model").glob("killed/*.pth"):
            torch.load(file, weights_only=True)

    resume = [*flags, "--name", "killed", "--resume"]
    killed = kill(lambda: train.main(resume), workspace, kills, 24, check)
    whole, resumed = (
        torch.load(workspace / "model" / name / "net_last.pth") for name in ("whole", "killed")
    )
    require(all(torch.equal(whole[name], resumed[name]) for name in whole), "other weights")
    return f"{killed} kills of training: every checkpoint readable, the last weights bit-identical"


def kill_layouts(workspace, kills):
    """Kill prepare.py at a random write operation, in a new folder each time, and rerun it."""

    def lay_out(folder):
        words = ["--data_dir", "people/train_all", "--save_dir", folder]
        return lambda: prepare.main([*words, "--pattern", r"(?P<id>\d+)_c(?P<camera>\d+)"])

    undisturbed(lay_out("whole"), workspace)
    expected = contents(workspace / "whole")
    killed = 0
    for number in range(kills):
        folder = f"killed{number}"
        killed += kill(lay_out(folder), workspace, 1, len(expected))
        require(contents(workspace / folder) == expected, "another layout")
    return f"{killed} kills of prepare.py: run again, each layout was complete, with nothing else"


def kill_additions(workspace, kills):
    """Kill a process that adds images to an index, four per transaction."""
    indexing.FIRST_CHUNK = indexing.LARGEST_CHUNK = 4
    crops = sorted((workspace / "people").rglob("*.png"))
    acknowledged = [0]

    def add(file):
        return lambda: search.main(["index", "people", "--index", file, *NETWORK])

    def check():
        if not (workspace / "killed.index").exists():
            return
        with closing(SearchIndex(workspace / "killed.index")) as index:
            found = len(index)
        require(found >= acknowledged[0], f"{found} of {acknowledged[0]} images")
        acknowledged[0] = found
        if found == len(crops):  # begin again
            (workspace / "killed.index").unlink()
            acknowledged[0] = 0

    undisturbed(add("whole.index"), workspace)
    killed = kill(add("killed.index"), workspace, kills, 40, check)
    whole, resumed = (sorted_features(workspace / f"{name}.index") for name in ("whole", "killed"))
    same = whole.keys() == resumed.keys()
    require(same and all(np.allclose(whole[p], resumed[p], atol=1e-5) for p in whole), "features")
    return f"{killed} kills of additions to an index: no image was lost, the same features"


def kill_lists(workspace, kills):
    """Kill a process that adds twenty images at a time to an index, and then replaces its lists."""
    gallery_index.MOST_COMPARED, inverted_lists.MOST_NEWER = 300, 0
    names = [f"{number}.jpg" for number in range(len(FEATURES))]
    folder, acknowledged = workspace / "lists", workspace / "acknowledged"

    def grow():
        index = SearchIndex(folder / "a.index")
        for start in range(len(index), len(names), 20):
            index.add(names[start : start + 20], FEATURES[start : start + 20])
            acknowledged.write_text(str(start + 20))
            index.prepare()

    def check():
        count = int(acknowledged.read_text()) if acknowledged.exists() else 0
        if count == 0:
            return
        with closing(SearchIndex(folder / "a.index")) as index:
            found = [match.path.name for (match,) in index.search(FEATURES[:count], 1)]
        require(found == names[:count], "an acknowledged image is not found")
        if count == len(names):  # begin again
            shutil.rmtree(folder)
            acknowledged.unlink()

    killed = kill(grow, workspace, kills, 60, check)
    return f"{killed} kills of an index that replaces its lists: every image was found"


def kill_reindexing(workspace, kills):
    """Kill a process that replaces all features of an index with another network's."""

    def make(file):
        make_cut(file)
        with closing(SearchIndex(file)) as index:
            paths = [path for images in index.images() for path, _ in images]
        with closing(SearchIndex(next_file(file))) as following:
            following.add(paths, FEATURES[:CUT, ::2])
            following.remember({"network": {"name": "next"}})

    def change(file):
        with (
            closing(SearchIndex(file)) as index,
            closing(SearchIndex(next_file(file))) as following,
        ):
            index.take_features(following, ["network"])

    def check(file, ended):
        with closing(SearchIndex(file)) as index:
            features = np.concatenate([some for _, some in index.entries()])
            named = index.recall("network") is not None
            require(len(features) == CUT and not [*faults_of(index)], "a damaged index")
        changed = features.shape[1] < FEATURES.shape[1]
        require(named == changed and (changed or not ended), "features of two networks")

    killed = kill_changes(workspace, kills, make, change, check, 60)
    return f"{killed} kills of another network's features: all were replaced, or none"


def kill_forgetting(workspace, kills):
    """Kill a process that forgets a track and its crops."""

    def change(file):
        with closing(SearchIndex(file)) as index:
            index.forget(Filter(track="1"), "track")

    def check(file, ended):
        with closing(SearchIndex(file)) as index:
            tracks = [about.track for images in index.images() for _, about in images]
        kept, gone = tracks.count("2"), tracks.count("1")
        require(kept == CUT // 2 and gone in (0, CUT // 2), "half of a track")
        if ended:
            every = [path for path in file.parent.rglob("*") if path.is_file()]
            content = b"".join(path.name.encode() + path.read_bytes() for path in every)
            traces = [b"000001_", *(row.tobytes() for row in FEATURES[:CUT:2].astype("<f2"))]
            left = any(trace in content for trace in traces)
            require(not left and len(every) == CUT // 2 + 1, "what was forgotten")

    killed = kill_changes(workspace, kills, make_cut, change, check, 120)
    return f"{killed} kills of forgetting: it was complete or had not happened; no trace was left"


def make_cut(file):
    """Write an index of images that were cut from two tracks."""
    crops = file.parent / "a.crops" / "film"
    crops.mkdir(parents=True)
    paths = [crops / f"{i % 2 + 1:06d}_{i:06d}.jpg" for i in range(CUT)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with closing(SearchIndex(file)) as index:
        abouts = {path: About(source="film", track=str(i % 2 + 1)) for i, path in enumerate(paths)}
        index.add(paths, FEATURES[:CUT], abouts)


def kill_changes(workspace, kills, make, change, check, acts):
    """Interrupt and redo changes to an index, each in a new folder; return the number of kills.

    make, change: called with the index's path. check: called with the path and whether the change
    must be complete. acts: roughly how many times the change writes.
    """
    killed = 0
    for _ in progress(range(kills), desc="changes"):
        folder = workspace / "change"
        folder.mkdir()
        file = folder / "a.index"
        make(file)
        killed += kill(lambda: change(file), workspace, 1, acts, lambda: check(file, False))  # noqa: B023
        check(file, True)
        shutil.rmtree(folder)
    return killed


KINDS = {
    "trainings": kill_trainings,
    "layouts": kill_layouts,
    "additions": kill_additions,
    "reindexing": kill_reindexing,
    "forgetting": kill_forgetting,
    "lists": kill_lists,  # last: it changes limits
}


def require(holds, found):
    """Raise UserError, naming what was found, unless `holds` is true."""
    if not holds:
        raise UserError(f"After a kill: {found}.")


def kill(command, workspace, kills, most, check=lambda: None):
    """Run a command until it has been killed `kills` times, then let it finish.

    It is killed at one of its first `most` write operations.

    Returns how often it was killed, which is less than `kills` if it has nothing left to do.
    """
    killed = 0
    for _ in progress(range(4 * kills), desc="kills"):  # some end by themselves before that
        if killed == kills:
            break
        acts = random.randint(1, most)
        outcome = run(lambda: doomed(command, acts), workspace)  # noqa: B023
        if outcome.status not in (0, -signal.SIGKILL):
            raise UserError(f"{outcome.status}: {outcome.output}")
        killed += outcome.status != 0
        check()
    undisturbed(command, workspace)
    return killed


@dataclass(frozen=True)
class Outcome:
    """The outcome of a child process.

    status: its exit status, or minus the number of the signal that ended it, or None if it hung.
    """

    status: int | None
    output: str


def run(function, folder):
    """Call function() in a forked child process, in `folder`, and return the Outcome."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:

        def child():
            os.chdir(folder)
            sys.stdout = sys.stderr = output
            function()

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(PATIENCE)
        status = process.exitcode
        process.kill()
        process.join()
        output.seek(0)
        return Outcome(status, output.read())


def undisturbed(command, workspace):
    """Run a command to its end. Raises UserError if it fails."""
    outcome = run(lambda: run_script(command), workspace)
    if outcome.status != 0:
        raise UserError(outcome.output)


def doomed(command, acts):
    """Run a command that kills itself before its `acts`-th write operation."""
    left = [acts]

    def act():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    watched(command, act)


def count_acts(command, workspace):
    """Return how many write operations a command performs."""

    def count():
        acts: list[None] = []
        watched(command, lambda: acts.append(None))
        (workspace / "acts").write_text(str(len(acts)))

    undisturbed(count, workspace)
    return int((workspace / "acts").read_text())


def watched(command, act):
    """Run a command, and call `act` before each of its write operations."""

    def watch(event, arguments):
        writes = (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in WRITING or writes:
            act()

    def connect(*arguments, original=sqlite3.connect, **settings):
        database = original(*arguments, **settings)
        database.set_trace_callback(lambda _: act())
        return database

    sqlite3.connect = connect
    sys.addaudithook(watch)
    run_script(command)


def contents(folder):
    """Return {file: bytes} for a folder, without lock files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", ".prepared.json")
    }


def sorted_features(file):
    """Return {path: feature} for an index."""
    rows = sqlite3.connect(file).execute("SELECT path, feature FROM images")
    return {path: np.frombuffer(feature, "<f2") for path, feature in rows}


if __name__ == "__main__":
    run_script(main)
