"""The C compiler of this machine, and the functions that it makes of the C files of this room."""

import ctypes
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCES = ("layer.c", "mixture.c")
# Strict arithmetic, but for what no program here asks for: errno, and signals for numbers that are not finite.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")

log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Compile the layers, which takes a second, and load them. Returns None where that fails, and the log says why.

    The compiler is `cc`, or what the variable CC names; CC=false leaves PyTorch its own layers. It has to know OpenMP.
    On Linux, the layers share their threads with PyTorch, whose copy of OpenMP has the name that compilers link to.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if sys.platform != "linux" or compiler == ["false"]:
        return None
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "layers.so"
        command = [*compiler, *FLAGS, "-o", str(target), *(str(folder / name) for name in SOURCES), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            return ctypes.CDLL(str(target))
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
            log.info("No fused layers, because no C compiler works (%s): OSNet trains more slowly.", reason)
            return None
