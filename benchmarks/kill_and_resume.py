# PYTHON_ARGCOMPLETE_OK
"""Kill a training run at random moments, resume it each time, and compare it with an uninterrupted run.

    python benchmarks/kill_and_resume.py --kills 200

SIGKILL leaves a process no chance to tidy up. After each kill, every checkpoint must be readable; at the end, the
weights must equal those of the uninterrupted run bit for bit. Uses generated images in a temporary folder; --seed draws
the moments.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.basics import UserError, progress  # noqa: E402
from person_reid.cli.main import run_script  # noqa: E402
from person_reid.cli.parser import Parser  # noqa: E402
from tests.support.people import write_people  # noqa: E402

RUN = (
    "--backbone osnet_x0_25 --weights none --height 64 --width 32 --batchsize 8 --gpu_ids -1 --train_all --wa --arcface"
)


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often the run is killed")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of the run, each of eight batches")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other moments")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_people(folder / "people" / "train_all", people=8, images=8)
        command = [sys.executable, str(ROOT / "train.py"), *RUN.split(), "--erasing_p", "0.5", "--data_dir", "people"]
        command += ["--total_epoch", str(options.epochs)]
        began = time.monotonic()
        subprocess.run([*command, "--name", "whole"], cwd=folder, check=True, capture_output=True)
        seconds = time.monotonic() - began
        kills = kill_and_resume([*command, "--name", "killed"], folder, options, seconds)
        whole, killed = (read(folder / "model" / run / "net_last.pth") for run in ("whole", "killed"))
    if not all(torch.equal(whole[name], killed[name]) for name in whole):
        raise UserError(f"After {kills} kills the weights are not those of the undisturbed run.")
    print(f"{kills} kills in {options.epochs} epochs: every checkpoint readable, the last weights bit-identical.")


def kill_and_resume(command, folder, options, seconds):
    """Start the command repeatedly, killing it after a random time, then let it finish. Returns the number of kills.
    seconds: the time of an uninterrupted run, start included."""
    random.seed(options.seed)
    kills, start = 0, seconds
    for _ in progress(range(options.kills), desc="kills"):
        process = subprocess.Popen([*command, "--resume"], cwd=folder, stdout=subprocess.PIPE, text=True)
        began = time.monotonic()
        assert process.stdout is not None
        line = process.stdout.readline()  # the first line shows that the run has begun
        start = min(start, time.monotonic() - began)
        time.sleep(random.uniform(0, 2 * (seconds - start) / options.kills))
        process.kill()
        killed = process.wait() != 0
        process.stdout.close()
        kills += killed
        for file in (folder / "model").glob("killed/*.pth"):
            read(file)
        if line and not killed:
            break
    subprocess.run([*command, "--resume"], cwd=folder, check=True, capture_output=True)
    return kills


def read(file):
    """Return the contents of a checkpoint. Raises an exception if it is cut short."""
    return torch.load(file, weights_only=True)


if __name__ == "__main__":
    run_script(main)
