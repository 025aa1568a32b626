"""The folder of a run, model/NAME: which files it holds, and how they are written and found.

opts.yaml          the options, with the number of identities
versions.jsonl     the code and libraries: one JSON object for each time that the run began or went on
net_010.pth …      the network's state dict every ten epochs; net_last.pth after the latest
net_average.pth    the averaged network (--wa); net_average_bn.pth with batch-norm statistics of its own
resume.pth         all that --resume needs, after the latest epoch
log.jsonl          one JSON object an epoch
not_finite.txt     the images of a batch whose loss was no number
trace.json         of --profile
train.jpg          the curves
result.txt         what test.py measured
"""

import json
import re
import shutil
from pathlib import Path

import torch

from person_reid.basics import UserError, atomic_write
from person_reid.models.weights import read_tensors

AVERAGES = ("average", "average_bn")


class RunFolder:
    """model/NAME. Every file in it is replaced whole or not at all."""

    def __init__(self, name):
        self.name = name
        self.path = Path("model") / name
        self.state_file = self.path / "resume.pth"

    def set_aside(self):
        """Make room for a new run of the same name: what an earlier one left is kept as model/NAME.previous."""
        if not any(self.path.glob("*.pth")):
            return
        previous = self.path.with_name(f"{self.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        self.path.rename(previous)
        print(f"{self.path} held an earlier run; it is now {previous}.")

    def save_weights(self, label, state_dict):
        """Write net_<label>.pth; label: "last", "average", "average_bn" or the number of an epoch."""
        _save(state_dict, self.path / f"net_{_label(label)}.pth")

    def keep_latest(self, count):
        """Delete all but the latest `count` of the numbered checkpoints."""
        numbered = sorted(self.path.glob("net_[0-9][0-9][0-9]*.pth"), key=lambda path: int(path.stem[4:]))
        for path in numbered[:-count]:
            path.unlink()

    def save_state(self, state):
        """Write what --resume needs."""
        _save(state, self.state_file)

    def load_state(self, device):
        """What save_state wrote, or None where the run has not finished an epoch."""
        if not self.state_file.exists():
            return None
        return read_tensors(self.state_file, device)

    def save_log(self, history):
        """Write log.jsonl anew: one JSON object an epoch, so that a resumed run repeats no line."""
        with atomic_write(self.path / "log.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(epoch) + "\n" for epoch in history))

    def save_versions(self, versions, goes_on):
        """Write versions.jsonl with this line, {what: version}, alone or, of a run that goes on, after those before."""
        path = self.path / "versions.jsonl"
        before = path.read_text() if goes_on and path.exists() else ""
        with atomic_write(path) as temporary:
            temporary.write_text(before + json.dumps(versions) + "\n")

    def weights_file(self, which_epoch="last"):
        """The checkpoint that `--which_epoch` names: last, average, average_bn, or an epoch (59, 059 and 60 as well:
        the 60th epoch was number 59 in the days when counting began at 0).

        Raises FileNotFoundError, listing the checkpoints there are.
        """
        for label in _candidates(which_epoch):
            path = self.path / f"net_{label}.pth"
            if path.exists():
                return path
        labels = sorted(path.stem.removeprefix("net_") for path in self.path.glob("net_*.pth"))
        if labels:
            advice = f"There are: --which_epoch {', '.join(labels)}."
        else:
            advice = f"No checkpoint is there yet. Train first: python train.py --name {self.name}"
        raise FileNotFoundError(f"{self.path}: no checkpoint for --which_epoch {which_epoch}. {advice}")


def _candidates(which_epoch):
    """The labels under which the checkpoint may be stored, the likeliest first."""
    if not re.fullmatch(r"\d+", str(which_epoch)):
        return [str(which_epoch)]
    epoch = int(which_epoch)
    return [_label(epoch), *([_label(epoch + 1)] if epoch % 10 == 9 else []), str(which_epoch)]


def _label(label):
    return f"{label:03d}" if isinstance(label, int) else label


def _save(content, path):
    """torch.save, whole or not at all. Its own complaint about a full disk is no OSError; ours is."""
    with atomic_write(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            raise OSError(None, f"could not be written, is the disk full? ({str(error).splitlines()[0]})") from error


def check_run_name(name):
    """Raise UserError for a name that is not a plain folder name."""
    if not re.fullmatch(r"[^/\\\0]+", name) or name in (".", ".."):
        raise UserError(f"--name {name!r}: expected a plain name, without slashes.")
