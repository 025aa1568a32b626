"""The options of tools/figures.py and of every script that draws."""

from collections.abc import Callable
from typing import Any, NamedTuple

from person_reid.config.demo import THRESHOLD
from person_reid.config.evaluate import EvaluationOptions
from person_reid.config.forms import picture_file
from person_reid.config.look import Look, TableForm
from person_reid.config.option import POSITIVE, Options, option, redeclared
from person_reid.config.run import PluginOptions
from person_reid.registration import Registry

PROJECTION_NAMES = ("tsne", "pca")


class FigureOptions(Look, PluginOptions, title="picture"):
    """The picture to write, and its style."""

    save: str = option("figure.png", "picture to write", form=picture_file, metavar="FILE")


class CurvesConfig(FigureOptions):
    """Draw the loss, error, learning rate and mAP of a run by epoch."""

    name: str | None = option(None, "name of the run (default: ft_ResNet50, or the only one)")
    save: str = redeclared(FigureOptions, "save", "curves.png")


class ComparedResults(Options, title="results"):
    """The results to compare."""

    results: tuple[str, ...] = option(
        ("pytorch_result.mat",),
        "features written by test.py",
        several="*",
        positional=True,
        metavar="RESULT",
    )
    seeds: bool = option(
        False,
        "mean ± deviation of runs with several seeds: net_seed3 and net_seed7, or net_0 and net_1",
    )
    ignore_cameras: bool = option(False, "also count matches from the query's own camera")


class CmcConfig(ComparedResults, FigureOptions):
    """Draw the cumulative matching characteristics of several runs."""

    ranks: int = option(50, "last rank to draw")
    save: str = redeclared(FigureOptions, "save", "cmc.png")


class TableConfig(TableForm, ComparedResults):
    """Print Rank@1, Rank@5, Rank@10, mAP and mINP of several runs."""

    ap: str = redeclared(EvaluationOptions, "ap", "trapezoidal")
    ranks: str = redeclared(EvaluationOptions, "ranks", "1,5,10")
    labels: str | None = redeclared(Look, "labels", None)


class HistogramConfig(FigureOptions):
    """Draw the similarities of images of the same and of different people, with the threshold."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    threshold: str | None = option(None, f"{THRESHOLD} (default: equal error rate)")
    ignore_cameras: bool = option(False, "also count pairs from the same camera")
    save: str = redeclared(FigureOptions, "save", "histogram.png")


class MapConfig(FigureOptions):
    """Draw a map in which similar images are close to one another."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    identities: int = option(10, "number of identities, those with the most images", range=POSITIVE)
    method: str | None = option(
        None, "default: tsne if it is installed, else pca", choices=PROJECTION_NAMES
    )
    save: str = redeclared(FigureOptions, "save", "map.png")


class Figure(NamedTuple):
    """A command of tools/figures.py: its options, and the function that draws it."""

    options: type[Options]
    draw: Callable[[Any], None]


OWN_FIGURES: Registry[Figure] = Registry("figure")  # registered by plugins


def register_figure(
    name: str, draw: Callable[[Any], None], options: type[Options] = FigureOptions
) -> None:
    """Register a picture under a name that becomes a command of tools/figures.py.

    draw: draws the picture, given the options of the command line; config.save is the file.
    options: a class derived from FigureOptions; its docstring is the help.
    """
    OWN_FIGURES.register(name, Figure(options, draw))
