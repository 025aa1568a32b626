"""Running the scripts as a user would, and keeping the figures: a JSON line a run."""

import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from person_reid.basics import UserError, importable

ROOT = Path(__file__).resolve().parents[2]
LAST = 600  # characters of what a failed script printed last
log = logging.getLogger(__name__)


def call(script, *words, show=False):
    """Run a script of the repository with these arguments; returns what it printed, errors among it.

    show: also log each line as it comes. An exception here, an interruption among them, first ends the script: it is
    asked to (SIGTERM), so that a training keeps the epoch it is in. Raises UserError where the script fails.
    """
    own = [str(ROOT / script)] if "/" in script else ["-m", "person_reid", script.removesuffix(".py")]
    command = [sys.executable, *own, *map(str, words)]
    environment = os.environ | importable() | {"PYTHONIOENCODING": "utf-8"}
    printed = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, encoding="utf-8", errors="replace"
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


def found(pattern, text):
    """The first group of the first match. Raises UserError where there is none."""
    match = re.search(pattern, text)
    if not match:
        raise UserError(f"Nothing like {pattern!r} in the output:\n{text[-LAST:]}")
    return match[1]


def read_records(path):
    """The records of a results file, as dicts; none where there is no such file."""
    path = Path(path)
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"{path}: expected a JSON object on each line ({error}). Mend or remove that line.") from error


def append_record(path, record):
    """Add one line to a results file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
