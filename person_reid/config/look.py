"""The options that every script which draws has."""

from dataclasses import dataclass

from person_reid.config.forms import texts
from person_reid.config.option import Options, option

WIDTHS = {"column": 3.3, "page": 6.9}  # inches of a paper with two columns


@dataclass(frozen=True, kw_only=True)
class Look(Options):
    """How a picture is drawn."""

    title = "look"
    width: str | None = option(
        None,
        "for a paper: as wide as a column or a page, in letters of 8 points",
        choices=tuple(WIDTHS),
    )
    no_title: bool = option(False, "leave out the titles, for a paper whose caption says it")
    labels: str | None = option(
        None, "texts in place of the picture's own, separated by commas", form=texts, metavar="A,B"
    )
    dark: bool = option(False, "draw for a dark screen")
