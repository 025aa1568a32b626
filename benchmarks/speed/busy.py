# PYTHON_ARGCOMPLETE_OK
"""Compare the time of the commands on a quiet machine and beside a busy process.

The process keeps one core busy.

    python benchmarks/speed/busy.py
    python benchmarks/speed/busy.py --commands train test --threads 1

Prints rows of Markdown: the suite as it is (threads that wait spin briefly, then sleep), with
threads that only spin (OMP_WAIT_POLICY=active), and with --threads. Needs a machine that does
nothing else. Linux. Medians of --rounds, with the extremes of the ratio: where the threads and the
other process meet is the system's choice, and differs each time.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import ROOT, apart, machine, make_result, run_process
from benchmarks.support.parser import Parser
from benchmarks.support.people import draw_people
from person_reid.console import run_script

NETWORK = ["--backbone", "osnet_x0_25", "--weights", "none", "--gpu_ids", "-1"]
COMMANDS = ("train", "test", "evaluate", "evaluate_rerank")


def main(argv=None):
    """Print a table with a row for each command."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--commands", nargs="+", choices=COMMANDS, default=COMMANDS, help="only these"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the last column")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, which take turns")
    options = parser.parse_args(argv)
    print(
        machine(),
        "",
        f"| command | quiet | busy | busy, spinning | busy, {options.threads} thread(s) |",
        sep="\n",
    )
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as workspace:
        apart(draw_people, Path(workspace) / "people", 40, 20, 3, 4, 100, 20)
        apart(make_result, Path(workspace) / "made.mat", 3368, 19732)
        lines = {
            "train": [
                *NETWORK,
                "--data_dir",
                f"{workspace}/people/pytorch",
                "--train_all",
                "--name",
                "busy",
            ],
            "test": [
                *NETWORK,
                "--test_dir",
                f"{workspace}/people/pytorch",
                "--result",
                f"{workspace}/tested.mat",
            ],
            "evaluate": ["--result", f"{workspace}/made.mat"],
            "evaluate_rerank": ["--result", f"{workspace}/made.mat"],
        }
        lines["train"] += ["--total_epoch", "2", "--height", "128", "--width", "64"]
        for command in options.commands:
            words = [str(ROOT / f"{command}.py"), *lines[command]]
            print(row(command, words, options.threads, workspace, options.rounds), flush=True)


def row(command, words, threads, workspace, rounds):
    """Return the row of a command line."""
    settings: list[dict[str, str]] = [
        {},
        {"OMP_WAIT_POLICY": "active"},
        {"OMP_NUM_THREADS": str(threads)},
    ]

    def seconds(setting):
        with patch.dict(os.environ, setting):
            return run_process(*words)[0]

    with patch("benchmarks.support.measure.ROOT", workspace):
        quiet = median(seconds({}) for _ in range(rounds))
        with busy_core():
            turns = [[seconds(setting) for setting in settings] for _ in range(rounds)]
    cells = [
        f"{median(times):.1f} s, {median(times) / quiet:.1f}× "
        f"({min(times) / quiet:.1f} to {max(times) / quiet:.1f})"
        for times in zip(*turns, strict=True)
    ]
    return f"| {command} | {quiet:.1f} s | {' | '.join(cells)} |"


@contextmanager
def busy_core():
    """Keep a core busy, and wait until the system's average shows it."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while os.getloadavg()[0] < 0.6:
            time.sleep(1)
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    run_script(main)
