"""What every room needs and no library has: messages, safe files, the device, the seed.

torch is imported where it is used and not above: evaluate.py reads this file and starts in a fraction of the
second that torch alone would take.
"""

import difflib
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


class UserError(Exception):
    """A mistake that its user can mend. The message says what was found, what was expected and what to do."""


def importable():
    """The PYTHONPATH, as {"PYTHONPATH": …}, with which another process imports this very package, installed or not."""
    package = str(Path(__file__).resolve().parent.parent)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}


def describe(error):
    """The message of an exception, in the words of a person: `disk.mat: No space left on device`."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def did_you_mean(name, known):
    """` Did you mean 'resnet50'?` for the entry of `known` nearest to `name`; an empty string where none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


@contextmanager
def atomic_write(path, shared=False):
    """Yield a temporary path beside `path`; move it to `path` once it is written and on the disk.

    Whoever reads `path` finds the old file or the new one, whole, also after a crash or on a full disk. What a killed
    process leaves behind is overwritten by the next attempt. shared: several processes may write the same file at
    once (a cache), so that each needs a temporary file of its own.

    Raises OSError, naming `path`, where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial" if shared else f".{path.name}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def progress(iterable=None, **options):
    """tqdm's bar on a terminal, nothing elsewhere: a log file holds lines, not bars. Options are tqdm's own."""
    return tqdm(iterable, disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False, **options)


def seed_everything(seed):
    """Seed torch's generators, on every device. NumPy's are passed explicitly to where they are used."""
    import torch

    torch.manual_seed(seed)


def select_device(gpu_ids="0"):
    """The torch.device for a `--gpu_ids` value: that GPU, or Apple's GPU, or the CPU where there is none.

    "-1" always means the CPU. Raises UserError for anything but one whole number, and for a GPU that is not there
    while others are.
    """
    import torch

    try:
        number = int(gpu_ids)
    except ValueError:
        raise UserError(f"--gpu_ids {gpu_ids}: expected the number of one GPU, such as 0, or -1 for the CPU.") from None
    if number < 0:
        return torch.device("cpu")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        if number >= count:
            raise UserError(f"--gpu_ids {gpu_ids}: this machine has {count} GPU(s), numbered from 0.")
        return torch.device("cuda", number)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device, dtype):
    """torch.autocast on a device, with torch.float16 or torch.bfloat16; None computes in float32."""
    import torch

    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
