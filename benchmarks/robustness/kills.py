# PYTHON_ARGCOMPLETE_OK
"""Kill processes while they write, and compare their output with that of undisturbed ones.

The processes are training runs, layouts, additions to a search index, changes of its lists, and
other changes of an index: copies, moves, another network, and forgetting.

    python benchmarks/robustness/kills.py
    python benchmarks/robustness/kills.py --trainings 20 --layouts 5 --additions 5 --lists 5 \\
      --changes 20 --seed 1
    python benchmarks/robustness/kills.py --trainings 0 --layouts 0 --additions 0 --lists 0

SIGKILL leaves a process no chance to clean up. Each process is killed at one of its next write
operations, drawn at random: a file opened for writing, renamed, linked or removed, or an SQLite
statement. The next process continues. After each kill, every checkpoint must be readable and every
image that was acknowledged must be in the index; at the end, weights, layout and index must equal
those of an undisturbed process, the weights bit for bit. Among images with lists, a search must
find each image that was acknowledged. Any other change of an index is complete or did not happen;
at the end, no file contains a byte of what was forgotten. POSIX only.
"""

import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import prepare
import train
from benchmarks.robustness.children import run
from benchmarks.robustness.index_changes import CHANGES
from benchmarks.support.parser import Parser
from benchmarks.support.people import write_people
from person_reid import files
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery import index as gallery_index
from person_reid.gallery import indexing, inverted_lists
from person_reid.gallery.index import SearchIndex
from person_reid.progress import progress
from tools import search

SIZES = ["--height", "64", "--width", "32", "--batchsize", "8"]
NETWORK = ["--backbone", "osnet_x0_25", "--weights", "none", "--gpu_ids", "-1", *SIZES]
TRAINING = [
    *NETWORK,
    "--train_all",
    "--wa",
    "--arcface",
    "--erasing_p",
    "0.5",
    "--data_dir",
    "people",
]
WRITING = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
PATIENCE = 600.0  # seconds that a process may take


def main(argv=None):
    """Kill, continue and compare."""
    parser = Parser(__doc__)
    parser.add_argument("--trainings", type=int, default=200, help="how often training is killed")
    parser.add_argument("--layouts", type=int, default=50, help="how often prepare.py is killed")
    parser.add_argument(
        "--additions", type=int, default=50, help="how often an addition to an index is killed"
    )
    parser.add_argument(
        "--lists", type=int, default=50, help="how often an index that replaces its lists is killed"
    )
    parser.add_argument(
        "--changes", type=int, default=200, help="how often another change of an index is killed"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other moments")
    options = parser.parse_args(argv)
    random.seed(options.seed)
    torch.set_num_threads(1)
    files.ABANDONED = 0  # else what a process leaves is removed a minute after its end
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        write_people(workspace / "people" / "train_all", people=8, images=8)
        for work, kills in (
            (kill_trainings, options.trainings),
            (kill_layouts, options.layouts),
            (kill_additions, options.additions),
            (kill_changes, options.changes),
            (kill_lists, options.lists),  # last: it changes limits
        ):
            if kills:
                work(workspace, kills)


def kill_trainings(workspace, kills):
    """Kill a training run again and again.

    An epoch writes about a dozen times, so a process completes about half of one.
    """
    flags = [*TRAINING, "--total_epoch", str(max(4, kills // 2))]
    undisturbed(lambda: train.main([*flags, "--name", "whole"]), workspace)

    def check():
        for file in (workspace / "model").glob("killed/*.pth"):
            torch.load(file, weights_only=True)

    killed = kill(
        lambda: train.main([*flags, "--name", "killed", "--resume"]), workspace, kills, 24, check
    )
    whole, resumed = (
        torch.load(workspace / "model" / name / "net_last.pth") for name in ("whole", "killed")
    )
    if not all(torch.equal(whole[name], resumed[name]) for name in whole):
        raise UserError(
            f"After {killed} kills the weights are not those of the undisturbed training."
        )
    print(f"{killed} kills of training: every checkpoint readable, the last weights bit-identical.")


def kill_layouts(workspace, kills):
    """Kill prepare.py at any write operation, in a new folder each time, and run it again."""

    def lay_out(folder):
        words = ["--data_dir", "people/train_all", "--save_dir", folder]
        return lambda: prepare.main([*words, "--pattern", r"(?P<id>\d+)_c(?P<camera>\d+)"])

    undisturbed(lay_out("whole"), workspace)
    expected = contents(workspace / "whole")
    killed = 0
    for number in range(kills):
        killed += kill(lay_out(f"killed{number}"), workspace, 1, len(expected))
        if contents(workspace / f"killed{number}") != expected:
            raise UserError(
                f"After a kill, the layout killed{number} differs from an undisturbed one."
            )
    print(
        f"{killed} kills of prepare.py: run again, each layout was complete and held nothing else."
    )


def kill_additions(workspace, kills):
    """Kill additions to an index, four images in a transaction."""
    indexing.FIRST_CHUNK = indexing.LARGEST_CHUNK = 4
    crops = sorted((workspace / "people").rglob("*.png"))

    def add(file):
        return lambda: search.main(["index", "people", "--index", file, *NETWORK])

    undisturbed(add("whole.index"), workspace)
    acknowledged = [0]

    def check():
        if not (workspace / "killed.index").exists():
            return
        index = SearchIndex(workspace / "killed.index")
        found = len(index)
        index.close()
        if found < acknowledged[0]:
            raise UserError(f"The index held {acknowledged[0]} images, and {found} after a kill.")
        acknowledged[0] = found
        if found == len(crops):  # begin again
            (workspace / "killed.index").unlink()
            acknowledged[0] = 0

    killed = kill(add("killed.index"), workspace, kills, 40, check)
    whole, resumed = (sorted_features(workspace / f"{name}.index") for name in ("whole", "killed"))
    if whole.keys() != resumed.keys() or any(
        not np.allclose(whole[p], resumed[p], atol=1e-5) for p in whole
    ):
        raise UserError(f"After {killed} kills the index differs from an undisturbed one.")
    print(
        f"{killed} kills of additions to an index: "
        "no image that was in it was lost, the features are the same."
    )


def kill_lists(workspace, kills):
    """Kill a process that adds twenty images at a time to an index, and then replaces its lists."""
    gallery_index.MOST_COMPARED, inverted_lists.MOST_NEWER = 300, 0
    features = np.random.default_rng(0).standard_normal((2000, 64), np.float32)
    names = [f"{number}.jpg" for number in range(len(features))]
    folder, acknowledged = workspace / "lists", workspace / "acknowledged"

    def grow():
        index = SearchIndex(folder / "a.index")
        for start in range(len(index), len(features), 20):
            index.add(names[start : start + 20], features[start : start + 20])
            acknowledged.write_text(str(start + 20))
            index.prepare()

    def check():
        count = int(acknowledged.read_text()) if acknowledged.exists() else 0
        if count == 0:
            return
        index = SearchIndex(folder / "a.index")
        found = [match.path.name for (match,) in index.search(features[:count], 1)]
        index.close()
        if found != names[:count]:
            wrong = sum(a != b for a, b in zip(found, names, strict=False))
            raise UserError(f"{wrong} of {count} acknowledged images are not found after a kill.")
        if count == len(names):  # begin again
            shutil.rmtree(folder)
            acknowledged.unlink()

    killed = kill(grow, workspace, kills, 60, check)
    check()
    print(f"{killed} kills of an index that replaces its lists: every image was found.")


def kill_changes(workspace, kills):
    """Kill each change of an index in turn, in a new folder, and repeat it."""
    killed = Counter[str]()
    for number in progress(range(kills), desc="changes"):
        name = [*CHANGES][number % len(CHANGES)]
        each, folder = CHANGES[name], workspace / f"change{number}"
        folder.mkdir()
        each.make(folder)

        def check(each=each, folder=folder, name=name, ended=False):
            if not each.check(folder, ended):
                raise UserError(f"{folder}: neither as it was nor as it should be after {name}.")

        def change(each=each, folder=folder):
            each.change(folder)

        killed[name] += kill(change, workspace, 1, each.acts, check)
        check(ended=True)
        shutil.rmtree(folder)
    counts = ", ".join(f"{count} of {name}" for name, count in killed.items())
    print(f"{killed.total()} kills ({counts}): nothing was lost, and nothing forgotten was left.")


def kill(command, workspace, kills, most, check=lambda: None):
    """Run a command until it was killed `kills` times, then to its end.

    It is killed at one of its first `most` write operations.

    Returns how often it was killed: fewer if it has nothing left to do.
    """
    killed = 0
    for _ in progress(range(4 * kills), desc="kills"):  # some end by themselves before that
        if killed == kills:
            break
        acts = random.randint(1, most)
        outcome = run(lambda: doomed(command, acts), workspace, PATIENCE)  # noqa: B023
        if outcome.status not in (0, -signal.SIGKILL):
            raise UserError(f"{outcome.status}: {outcome.output}")
        killed += outcome.status != 0
        check()
    undisturbed(command, workspace)
    return killed


def undisturbed(command, workspace):
    """Run a command to its end. Raises UserError if it fails."""
    outcome = run(lambda: run_script(command), workspace, PATIENCE)
    if outcome.status != 0:
        raise UserError(outcome.output)


def doomed(command, acts):
    """Run a command that kills itself before its write operation with this number."""
    left = [acts]

    def act():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    watched(command, act)


def count_acts(command, workspace):
    """Return how many write operations a command has."""

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
    """Return {file: bytes} of a folder, without locks."""
    files = (
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", ".prepared.json")
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sorted_features(file):
    """Return {path: feature} of an index."""
    rows = sqlite3.connect(file).execute("SELECT path, feature FROM images")
    return {path: np.frombuffer(feature, "<f2") for path, feature in rows}


if __name__ == "__main__":
    run_script(main)
