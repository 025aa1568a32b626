"""The scripts run as a user would.

Each has a process of its own or shares the tests' process, which costs no start.
"""

import contextlib
import importlib
import io
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from tqdm import tqdm

from person_reid.console import run_script
from person_reid.console.main import SCRIPTS
from tests.support import ROOT


def module_of(script):
    """Return the module of a script."""
    folder = SCRIPTS[script]
    return importlib.import_module(script if folder == "." else f"{folder}.{script}")


def run_process(script, *arguments, cwd, status=0):
    """Run a script of the repository; returns what it printed, out and err together."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    return check(done.stdout + done.stderr, done.returncode, status)


def run(script, *arguments, cwd, status=0):
    """run_process without the seconds in which Python imports PyTorch.

    The script's `main` is called in `cwd`.
    """
    return check(*end(script, *arguments, cwd=cwd), status)


def begin(script, *arguments, cwd):
    """Start a process that calls the `main` of a script in `cwd`, and return it.

    On Linux it is a fork, which has imported PyTorch already.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    process = context.Process(target=_run_apart, args=(script, *arguments), kwargs={"cwd": cwd})
    process.start()
    return process


def _run_apart(script, *arguments, cwd):
    """Run in a process that may be killed, with a lock of its own for progress bars.

    tqdm's is shared with the process that forked this one, which would wait for it for ever.
    """
    tqdm.set_lock(threading.RLock())
    run(script, *arguments, cwd=cwd)


def end(script, *arguments, cwd) -> tuple[str, object]:
    """(what a script printed, its status), as `run` calls it; a traceback is an exception here."""
    main = module_of(script).main
    out = io.StringIO()
    err = io.StringIO()
    before = Path.cwd()
    ended: str | int | None = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default", UserWarning)  # printed, as a user sees them
        os.chdir(cwd)
        try:
            run_script(lambda: main([str(argument) for argument in arguments]))
        except SystemExit as end:
            ended = end.code
        finally:
            os.chdir(before)
    return out.getvalue() + err.getvalue(), ended


def check(output, ended, status):
    assert ended == status, output
    assert status == 0 or "Traceback" not in output
    return output


def refused(script, *arguments, cwd, status=1):
    """The one line of a script that refuses."""
    output = run(script, *arguments, cwd=cwd, status=status)
    assert sum(line.startswith("error: ") for line in output.splitlines()) == 1, output
    return output
