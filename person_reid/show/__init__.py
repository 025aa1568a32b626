"""Draw curves, rankings, heat maps, histograms, feature maps, and a report of them all."""

import os
import sys
from contextlib import suppress


def _import_matplotlib() -> None:
    """Import matplotlib regardless of MPLBACKEND, in which an unknown name would stop the import.

    Jupyter and Colab pass the name of their own backend to `!python train.py`. Pictures need no
    backend; a program that shows windows still gets the requested one.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
