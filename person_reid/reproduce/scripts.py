"""Run the scripts as a user would, and keep the figures, one JSON line per run."""

import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from person_reid.basics import UserError, importable, make_folder, read_json_lines

ROOT = Path(__file__).resolve().parents[2]
LAST = 600  # characters to show of a failed script's output, from its end
log = logging.getLogger(__name__)


def call(script: str, *words: str | int | Path, show: bool = False) -> str:
    """Run a script of the repository with these arguments. Returns its output, errors included.

    show: also log each line as it comes. An exception here, such as an interruption, first asks the
    script to end (SIGTERM), so that a training keeps the epoch it is in. Raises UserError if the
    script fails.
    """
    own = (
        [str(ROOT / script)] if "/" in script else ["-m", "person_reid", script.removesuffix(".py")]
    )
    command = [sys.executable, *own, *map(str, words)]
    environment = os.environ | importable() | {"PYTHONIOENCODING": "utf-8"}
    printed = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                printed.append(line)
                if show:
                    log.info(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            process.wait()
            raise
    text = "".join(printed)
    if process.returncode:
        raise UserError(f"python {script} {shlex.join(map(str, words))}: {text.strip()[-LAST:]}")
    return text


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Read the records of a results file; an empty list without a file.

    Raises as read_json_lines does.
    """
    return read_json_lines(path) if Path(path).exists() else []


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Append one line to a results file, also to one whose last line has no end."""
    path = Path(path)
    make_folder(path.parent)
    end = path.read_bytes()[-1:] if path.exists() else b""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if end in b"\n" else "\n") + json.dumps(record) + "\n")
    except OSError as error:  # writing does not say where
        raise OSError(error.errno, error.strerror, str(path)) from error
