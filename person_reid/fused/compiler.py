"""The machine's C compiler, and the functions that it makes from this package's C files."""

import ctypes
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

C_SOURCES = ("layer.c", "mixture.c")
# For speed, errno and floating-point traps are given up: nothing here reads them, and no result
# depends on them.
COMPILER_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
    "-shared",
)

log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Compile the layers, which takes a second, and load them.

    Returns None if that fails, and the log says why.

    The compiler is `cc`, or the one that the variable CC names, and must support OpenMP; CC=false
    compiles nothing. Only on Linux does PyTorch's copy of OpenMP have the name that compilers link
    to, so that both share their threads.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if sys.platform != "linux" or compiler == ["false"]:
        return None
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "layers.so"
        sources = [str(folder / name) for name in C_SOURCES]
        command = [*compiler, *COMPILER_FLAGS, "-o", str(target), *sources, "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            return ctypes.CDLL(str(target))
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(getattr(error, "stderr", None) or error).strip().partition("\n")[0]
            log.info(
                "No fused layers, because no C compiler works (%s): OSNet trains more slowly.",
                reason,
            )
            return None
