"""Draw losses, top-1 error, learning rate and, if measured, mAP by epoch."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from person_reid.show import style
from person_reid.show.style import (
    LINE_PATTERNS,
    SCREEN,
    Look,
    in_percent,
    panel,
    panels,
    relabel,
    share_legend,
)

SUMMAND = "loss_"  # prefix of the names of losses whose sum is the loss
PANELS = {  # title: {name in a record: label of the line}
    "Loss": {"loss": "training", "val_loss": "validation"},
    "Top-1 error": {"error": "training", "val_error": "validation"},
    "Learning rate": {"lr": "learning rate"},
    "Test": {"mAP": "mAP", "rank1": "Rank@1"},
}
HEADROOM = 0.08  # above the highest point, as a share of the axis below it
MOST_MARKED_EPOCHS = 30  # with more epochs, markers would overlap
HIGHEST_ERROR = 1e30  # numbers that are higher or not finite are not drawn: no axis reaches them


def draw_curves(
    history: Sequence[Mapping[str, Any]], path: str | Path, look: Look = SCREEN
) -> None:
    """Draw the curves to an image file.

    history: one dict per epoch, with epoch, loss and error and, if available, loss_NAME of each
    loss, val_loss, val_error (errors in 0..1), lr, and mAP and rank1 (0..1), which some epochs may
    lack. Values that are not finite leave a gap.
    """
    every_panel = panels_of(history)
    titles = [*every_panel]
    history = [
        {name: value for name, value in record.items() if abs(value) <= HIGHEST_ERROR}
        for record in history
    ]
    with panels(
        path,
        len(titles),
        (3.7, 3.2),
        look,
        columns=2 if len(titles) == 4 else None,
        below=0.2 if look.width else 0,
    ) as (figure, every):
        for axes, title in zip(every, titles, strict=True):
            _draw_panel(panel(axes, title, "Epoch", look=look), history, every_panel[title], look)
            if title == "Loss":
                axes.set_ylim(0, loss_limit(history))
                _mark_cut_off(axes, history)
            elif title == "Each loss":  # the losses differ by orders of magnitude
                axes.set_yscale("log")
            else:  # from 0, with room above the highest point, or above 1 for a test
                axes.update_datalim([(0, 0), (0, 1 if title == "Test" else 0)])
                axes.margins(y=HEADROOM)
                axes.set_ylim(bottom=0)
                if title != "Learning rate":
                    in_percent(axes.yaxis)
        if look.width:  # the panels are too small for their own legends
            share_legend(figure)
        relabel(figure, look)


def panels_of(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the panels of PANELS that have something to draw."""
    names = dict.fromkeys(name for record in history for name in record)
    losses = {name: name.removeprefix(SUMMAND) for name in names if name.startswith(SUMMAND)}
    title, *others = PANELS.items()
    every = dict([title, ("Each loss", losses), *others])
    return {title: lines for title, lines in every.items() if names.keys() & lines.keys()}


def _draw_panel(
    axes: Axes, history: Sequence[Mapping[str, Any]], lines: Mapping[str, str], look: Look
) -> None:
    styles = zip(cycle(style.line_colours(look)), cycle(LINE_PATTERNS), strict=True)
    for (name, label), (colour, pattern) in zip(lines.items(), styles, strict=False):
        points = [(record["epoch"], record[name]) for record in history if name in record]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=label,
                color=colour,
                linestyle=pattern,
                marker="." if len(points) <= MOST_MARKED_EPOCHS else "",
                drawstyle="steps-mid" if name == "lr" else "default",  # one rate per epoch
            )
    first, last = history[0]["epoch"], history[-1]["epoch"]
    # All panels have the same range.
    axes.set_xlim(first - 0.05 * (last - first) - 0.1, last + 0.05 * (last - first) + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(axes.lines) > 1 or lines == PANELS["Test"]:
        axes.legend()


def _mark_cut_off(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Mark, at the top of the axes, each epoch whose validation loss lies above them."""
    top = axes.get_ylim()[1]
    above = [record["epoch"] for record in history if record.get("val_loss", 0) > top]
    if above:
        colour = axes.lines[-1].get_color()
        axes.plot(above, [0.97 * top] * len(above), "^", color=colour, label="cut off")
        axes.legend()


def loss_limit(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the top of the loss axis: above all training losses and the median validation loss.

    Much higher validation losses, which are usual in the first epochs, are cut off, because they
    would flatten the other lines.
    """
    highest = max((record["loss"] for record in history if "loss" in record), default=0.0)
    validation = sorted(record["val_loss"] for record in history if "val_loss" in record)
    middle = validation[(len(validation) - 1) // 2] if validation else 0.0
    return float(1.15 * max(highest, middle)) or 1.0
