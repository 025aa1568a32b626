"""The versions of the code and the libraries behind a result."""

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from person_reid import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "timm")


def versions() -> dict[str, str]:
    """Return {"commit", "suite", "torch", "torchvision", "timm", "python"}.

    commit: this repository's, with + if files other than README.md and docs/ differ from it:
    recording a run rewrites some of these, which changes no result. It is absent if the suite was
    not cloned or git is missing.
    """
    libraries = {name: importlib.metadata.version(name) for name in PACKAGES}
    found = {"suite": __version__, **libraries, "python": platform.python_version()}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        # Otherwise git would describe a repository that the suite was copied into.
        if (CHECKOUT / ".git").exists():
            differs = _git("diff", "HEAD", "--name-only", "--", ".", ":!docs", ":!README.md")
            found = {
                "commit": _git("rev-parse", "--short", "HEAD") + ("+" if differs else ""),
                **found,
            }
    return found


def _git(*words: str) -> str:
    """Return git's output for this repository. Raises CalledProcessError if it fails."""
    return subprocess.run(
        ["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True
    ).stdout.strip()
