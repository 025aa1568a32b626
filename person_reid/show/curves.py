"""Draw training curves: loss, top-1 error, learning rate and, if it was
measured, mAP, epoch by epoch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from person_reid.show.style import LINES, LINES_ON_DARK, PATTERNS, in_percent, panel, picture

PANELS = {  # title: {name in a record: label of the line}
    "Loss": {"loss": "training", "val_loss": "validation"},
    "Top-1 error": {"error": "training", "val_error": "validation"},
    "Learning rate": {"lr": "learning rate"},
    "Test": {"mAP": "mAP", "rank1": "Rank@1"},
}
FEW = 30  # epochs; with more, the markers run into one another
HIGHEST = 1e30  # a number above, or one that is not finite, is not drawn: no axis reaches it


def draw_curves(history: Sequence[Mapping[str, Any]], path: str | Path, dark: bool = False) -> None:
    """Draw the curves to an image file.

    history: one dict per epoch, with epoch, loss, error and, if there are any, val_loss, val_error
    (errors in 0..1), lr, and mAP and rank1 (0..1), which some epochs may lack. What is not finite
    leaves a gap.
    """
    panels = [
        title
        for title, lines in PANELS.items()
        if any(name in record for name in lines for record in history)
    ]
    history = [
        {name: value for name, value in record.items() if abs(value) <= HIGHEST}
        for record in history
    ]
    rows, columns = (2, 2) if len(panels) == 4 else (1, len(panels))
    with picture(path, 3.7 * columns, 3.2 * rows, dark) as figure:
        for axes, title in zip(
            figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True
        ):
            _draw_panel(panel(axes, title, "Epoch"), history, PANELS[title], dark)
            if title == "Loss":
                axes.set_ylim(0, loss_limit(history))
                _mark_cut_off(axes, history)
            elif title == "Learning rate":
                axes.set_ylim(bottom=0)
            else:
                axes.set_ylim(0, None if title == "Top-1 error" else 1)
                in_percent(axes.yaxis)


def _draw_panel(
    axes: Axes, history: Sequence[Mapping[str, Any]], lines: Mapping[str, str], dark: bool
) -> None:
    colors = LINES_ON_DARK if dark else LINES
    for (name, label), colour, pattern in zip(lines.items(), colors, PATTERNS, strict=False):
        points = [(record["epoch"], record[name]) for record in history if name in record]
        if points:
            marker = "." if len(points) <= FEW else ""
            steps = "steps-mid" if name == "lr" else "default"  # one rate for each epoch
            style: dict[str, Any] = {
                "color": colour,
                "linestyle": pattern,
                "marker": marker,
                "drawstyle": steps,
            }
            axes.plot(*zip(*points, strict=True), label=label, **style)
    first, last = history[0]["epoch"], history[-1]["epoch"]
    # the same in all panels
    axes.set_xlim(first - 0.05 * (last - first) - 0.1, last + 0.05 * (last - first) + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(axes.lines) > 1 or lines == PANELS["Test"]:
        axes.legend()


def _mark_cut_off(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Point up, at the top of the axes, at each epoch whose validation loss is above it."""
    top = axes.get_ylim()[1]
    above = [record["epoch"] for record in history if record.get("val_loss", 0) > top]
    if above:
        colour = axes.lines[-1].get_color()
        axes.plot(above, [0.97 * top] * len(above), "^", color=colour, label="cut off")
        axes.legend()


def loss_limit(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the top of the loss axis: above all training losses and the median validation loss.

    A validation loss far above, usual in the first epochs, is cut off; it would press the other
    lines onto the axis.
    """
    highest = max((record["loss"] for record in history if "loss" in record), default=0.0)
    validation = sorted(record["val_loss"] for record in history if "val_loss" in record)
    middle = validation[(len(validation) - 1) // 2] if validation else 0.0
    return float(1.15 * max(highest, middle)) or 1.0
