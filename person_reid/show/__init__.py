"""Draw curves, rankings, heat maps, histograms, feature maps, and a report of them all."""

import os
import sys
from contextlib import suppress


def _import_matplotlib() -> None:
    """Import matplotlib whatever MPLBACKEND says: an unknown name in it ends the import.

    Jupyter and Colab hand the name of their own backend on to `!python train.py`. Pictures are
    drawn on figures, which need no backend; a program that shows windows still gets the one it
    asked for.
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
