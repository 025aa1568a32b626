"""The options of every script that draws a picture or prints a table."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from person_reid.config.forms import picture_file, texts
from person_reid.config.option import POSITIVE, Options, option, redeclared
from person_reid.config.run import PluginOptions
from person_reid.errors import UserError
from person_reid.registration import Registry
from person_reid.text import printable

THRESHOLD = "a number, a file from tools/threshold.py, or a folder from save_pretrained"  # in words
WIDTHS = {"column": 3.3, "page": 6.9}  # inches, in a paper with two columns


class Look(Options, title="look"):
    """The style of a picture."""

    width: str | None = option(
        None,
        "for a paper: as wide as a column or a page, in letters of 8 points",
        choices=tuple(WIDTHS),
    )
    no_title: bool = option(False, "draw no titles, for a paper whose captions have them")
    labels: str | None = option(
        None, "texts that replace the picture's, separated by commas", form=texts, metavar="A,B"
    )
    dark: bool = option(False, "draw for a dark screen")

    def ignored_without(self, save: str) -> str:
        """Return a message for `fault` about options that have no effect without `save`."""
        ignored = self.not_default(Look.declared())
        return f"{', '.join(ignored)} would be ignored without {save}." if ignored else ""


class PaperLook(Options, title="look"):
    """The style of a picture from a script that has a --width in pixels."""

    paper_width: str | None = redeclared(Look, "width", None)
    no_title: bool = redeclared(Look, "no_title", False)
    labels: str | None = redeclared(Look, "labels", None)
    dark: bool = redeclared(Look, "dark", False)

    @property
    def look(self) -> Look:
        """The same settings as a Look, under the names of the other scripts' flags."""
        return Look(
            width=self.paper_width, no_title=self.no_title, labels=self.labels, dark=self.dark
        )


class ShownFiles(Options, title="files"):
    """The features to read, and the picture to write."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    test_dir: str | None = option(
        None, "folder that holds query and gallery, if the images have moved"
    )
    save: str = option("show.png", "picture to write", form=picture_file, metavar="FILE")


class ShownRanking(Options, title="ranking"):
    """The contents of the picture of a ranking."""

    top: int = option(10, "number of gallery images", range=POSITIVE)
    missed: bool = option(False, "below each ranking, the right images that it misses")
    threshold: str | None = option(None, f"reject lower similarities: {THRESHOLD}")


class TableForm(Options, title="table"):
    """The format of a printed table, by default Markdown or plain lines."""

    latex: bool = option(False, "print a table for LaTeX, which needs the package booktabs")
    csv: bool = option(False, "print a table of comma-separated values")

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        both = "latex and csv are two forms of a table: leave one out."
        return both if self.latex and self.csv else ""

    @property
    def for_files(self) -> bool:
        """Whether standard output is reserved for the table."""
        return self.latex or self.csv


def own_or(names: Sequence[str], labels: str | None) -> list[str]:
    """Return the texts in --labels or, if there are none, `names`.

    Raises UserError if there are more or fewer texts than names.
    """
    if labels is None:
        return list(names)
    own = labels.split(",")
    if len(own) != len(names):
        listing = ", ".join(map(printable, names))
        raise UserError(f"labels={labels}: expected {len(names)}, in place of: {listing}.")
    return own


class FigureOptions(Look, PluginOptions, title="picture"):
    """The picture to write, and its style."""

    save: str = option("figure.png", "picture to write", form=picture_file, metavar="FILE")


class Figure(NamedTuple):
    """A command of tools/figures.py: its options, and the function that draws its picture."""

    options: type[Options]
    draw: Callable[[Any], None]


OWN_FIGURES: Registry[Figure] = Registry("figure")  # registered by plugins


def register_figure(
    name: str, draw: Callable[[Any], None], options: type[Options] = FigureOptions
) -> None:
    """Register a picture under a name that becomes a command of tools/figures.py.

    draw: draw(config) draws the picture into the file config.save; config has the options from the
    command line. options: a class derived from FigureOptions; its docstring is the help.
    """
    OWN_FIGURES.register(name, Figure(options, draw))
