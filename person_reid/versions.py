"""The code and the libraries a result comes from."""

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from person_reid import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "timm")


def versions() -> dict[str, str]:
    """Return {"commit", "suite", "torch", "torchvision", "timm", "python"}.

    commit: of this repository, with + if files differ from it; absent if the suite was not cloned or git is missing.
    """
    found = {"suite": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}}
    found["python"] = platform.python_version()
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if (ROOT / ".git").exists():  # else git would describe a repository the suite was copied into
            git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
            found = {"commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(), **found}
    return found
