"""Charts of results: CMC, similarities and ROC, accuracy against time, and training curves."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from person_reid.config.look import own_or
from person_reid.errors import UserError
from person_reid.files import with_ending
from person_reid.retrieval.bound import THRESHOLD_STEPS
from person_reid.retrieval.metric_tables import Seeds, mean_and_deviation, together, with_deviation
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.results import RESULT
from person_reid.retrieval.thresholds import BINS, Counts, PairSimilarities, roc
from person_reid.show import style
from person_reid.show.style import (
    LINE_PATTERNS,
    MANY,
    SCREEN,
    WIDTHS,
    Look,
    fitted,
    in_percent,
    legend_below,
    legend_height,
    letters,
    log_scale,
    panel,
    panels,
    relabel,
    share_legend,
    shortened,
    text_width,
)
from person_reid.text import printable

MOST_NAME_LETTERS = 40  # characters of a run's name
BESIDE_LEGEND = 0.6  # inches beside the text of a legend
# The cosine of each bin of a histogram.
COSINES = np.arange(-THRESHOLD_STEPS, THRESHOLD_STEPS + 1) / THRESHOLD_STEPS
MOST_BARS = 256  # bars across the cosines in [-1, 1]
PAD = 0.04  # cosine left of the first bar
PANEL_SIZE = 5.4, 4.8  # inches
MOST_IN_PANEL = 6  # lines of a panel with a legend of its own
DOTS = "os^Dv"  # the marker changes after every ten networks
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


def draw_cmc(
    runs: Mapping[str, Metrics | Seeds], save: str | Path, ranks: int = 50, look: Look = SCREEN
) -> None:
    """Draw in an image file each run's CMC curve up to rank `ranks`, best Rank@1 first.

    runs: {name: the Metrics of a run, or a list with the Metrics of its seeds}. Seeds are drawn as
    their mean, with a band that shows their deviation.

    Names of more than MOST_NAME_LETTERS characters lose their middle, unless they differ only
    there.
    """
    names = own_or(list(runs), look.labels)
    named = {name: together(run) for name, run in zip(names, runs.values(), strict=True)}
    best_first = sorted(named.items(), key=lambda run: -np.mean([each.rank(1) for each in run[1]]))
    short = _shortest(names)
    labels = [_label(printable(short[name]), seeds, look) for name, seeds in best_first]
    width = max(7, BESIDE_LEGEND + max(text_width(label, letters(look)) for label in labels))
    below = legend_height(labels, WIDTHS.get(look.width or "", width), look)
    with panels(save, 1, (width, 4.6), look, below=below) as (figure, [axes]):
        panel(axes, "Cumulative matching characteristic", "Rank", "Matching rate", look)
        for label, (_, seeds) in zip(labels, best_first, strict=True):
            mean, deviation = mean_and_deviation([metrics.cmc[:ranks] for metrics in seeds])
            at = np.arange(1, len(mean) + 1)
            marker = "o" if len(at) == 1 else ""  # one image gives a point instead of a line
            (line,) = axes.plot(at, mean, label=label, marker=marker, clip_on=not marker)
            if len(seeds) > 1:
                band = mean - deviation, np.minimum(mean + deviation, 1)
                axes.fill_between(at, *band, color=line.get_color(), alpha=0.2, linewidth=0)
        last = axes.dataLim.x1
        ticks = MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]).tick_values(1, last)
        axes.set(xlim=(1, None), xticks=[1, *(tick for tick in ticks if 1 < tick <= last)])
        axes.set_ylim(max(0, min(0.9, 1.05 * axes.dataLim.y0 - 0.05)), 1.005)
        in_percent(axes.yaxis)
        legend_below(figure, axes.lines)


def _shortest(names: Sequence[str]) -> dict[str, str]:
    """Return {name: short name}, each at most MOST_NAME_LETTERS long unless two would be equal."""
    longest = max([MOST_NAME_LETTERS, *map(len, names)])
    return next(
        short
        for most in range(MOST_NAME_LETTERS, longest + 1)
        if len(set((short := {name: shortened(name, most) for name in names}).values()))
        == len(names)
    )


def _label(name: str, seeds: Seeds, look: Look) -> str:
    """Return a label such as `resnet50: Rank@1 91.2, mAP 75.0`.

    With several seeds, it also shows their deviations and number.
    """
    first = with_deviation([100 * metrics.rank(1) for metrics in seeds], 1)
    figures = f"Rank@1 {first}, mAP {with_deviation([100 * metrics.mAP for metrics in seeds], 1)}"
    if len(seeds) > 1:
        figures += f", n = {len(seeds)}"
    if not look.width:
        return f"{name}: {figures}"
    room = WIDTHS[look.width] - BESIDE_LEGEND
    fits = text_width(f"{name}: {figures}", letters(look)) <= room
    return f"{name}: {figures}" if fits else f"{fitted(name, room, letters(look))}:\n{figures}"


def run_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Return {name: path}, with a name for the run of each result file.

    A name is the file name without .mat, or the path if names repeat. Common parent folders are
    omitted if possible. Raises UserError if a file is given twice.
    """
    if len(set(paths)) < len(paths):
        raise UserError(f"{', '.join(map(str, paths))}: the same file twice. Name each file once.")
    short = [with_ending(path, "", RESULT.suffix) for path in paths]
    folders = [path.parts[:-1] for path in short]
    shared = sum(
        1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    )
    ways = (
        [path.name for path in short],
        ["/".join(path.parts[shared:]) for path in short],
        [path.as_posix() for path in short],
        [path.as_posix() for path in paths],
    )
    names = next(names for names in ways if len(set(names)) == len(paths))
    return dict(zip(names, paths, strict=True))


def draw_similarities(
    pairs: PairSimilarities, threshold: float, save: str | Path, look: Look = SCREEN
) -> None:
    """Draw histograms and ROC curves of all pairs and of each query's hardest pairs.

    threshold: the lowest cosine at which two images count as one person. A cosine distance is 1 −
    cosine.
    """
    kinds = (
        ("All pairs", "Share of pairs", pairs.genuine, pairs.impostor),
        (
            "Hardest pairs",
            "Share of hardest",
            pairs.hardest_genuine,
            pairs.hardest_impostor,
        ),
    )
    with panels(save, 3, (3.8, 3.6), look, below=0.5) as (figure, [*histograms, curves]):
        panel(curves, "ROC", "False match rate", "True match rate", look)
        for axes, (title, y, genuine, impostor) in zip(histograms, kinds, strict=True):
            keys = _histogram(
                panel(axes, title, "Cosine similarity", y, look), genuine, impostor, look
            )
            line = axes.axvline(threshold, color=axes.xaxis.label.get_color(), linestyle="--")
            line.set(label=f"threshold {threshold:.3f}", linewidth=0.7 * line.get_linewidth())
            first = COSINES[np.flatnonzero(genuine + impostor)[0]]
            axes.set(xlim=(min(first, threshold) - PAD, 1 + PAD / 4))
            curve = roc(genuine, impostor)
            curves.plot(
                np.maximum(curve.false_positives, 1e-6), curve.true_positives, label=title.lower()
            )
        for each, colour in zip(curves.lines, style.line_colours(look)[2:], strict=False):
            each.set_color(colour)  # the first two show pairs of people
        curves.set(xscale="log", xlim=(1e-5, 1), ylim=(0, 1.02))
        curves.set_xticks([10.0**power for power in range(-4, 1, 2 if look.width else 1)])
        in_percent(curves.xaxis)
        in_percent(curves.yaxis, 5 if look.width else 11)
        legend_below(figure, [*keys, line, *curves.lines])
        relabel(figure, look)


def _histogram(axes: Axes, genuine: Counts, impostor: Counts, look: Look) -> list[Patch]:
    """Draw two histograms, and return their legend entries.

    The smaller number of pairs determines the width of the bars.
    """
    bars, keys = _bars(genuine, impostor), []
    edges = np.linspace(-1, 1, bars + 1)
    for counts, name, colour, hatch in zip(
        (genuine, impostor),
        ("same person", "strangers"),
        style.line_colours(look),
        ("", "///"),
        strict=False,
    ):
        shares = np.histogram(COSINES, edges, weights=counts)[0] / counts.sum()
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(
            shares, edges, fill=True, facecolor="none", edgecolor=colour, linewidth=0, hatch=hatch
        )
        axes.stairs(shares, edges, color=colour, label=name)
        face = to_rgba(colour, 0.35)
        keys.append(Patch(facecolor=face, edgecolor=colour, hatch=hatch, label=name))
    in_percent(axes.yaxis)
    return keys


def _bars(genuine: Counts, impostor: Counts) -> int:
    """Return the number of bars across [-1, 1], a power of two.

    By Rice's rule, twice the cube root of the number of pairs is the number of bars in their range.
    """
    wanted = min(
        2 * counts.sum() ** (1 / 3) / (np.ptp(np.flatnonzero(counts)) / BINS + 1 / BINS)
        for counts in (genuine, impostor)
    )
    return int(2 ** np.clip(np.round(np.log2(wanted)), 3, np.log2(MOST_BARS)))


def draw_accuracy_by_time(
    rows: Sequence[Mapping[str, Any]], save: str | Path, look: Look = SCREEN
) -> None:
    """Draw mAP against milliseconds, with a panel for each test set; the legend names the networks.

    rows: {"network", "milliseconds", "accuracy": {test set: {"mAP"}}} for each network; mAP in
    [0, 1].
    """
    names = own_or([printable(row["network"]) for row in rows], look.labels)
    keys = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=DOTS[i // len(MANY) % len(DOTS)],
            color=MANY[i % len(MANY)],
            label=name,
        )
        for i, name in enumerate(names)
    ]
    test_sets = rows[0]["accuracy"]
    with panels(save, len(test_sets), PANEL_SIZE, look, narrowest=3, below=0.5) as (figure, every):
        for axes, test_set in zip(every, test_sets, strict=True):
            title = f"{printable(test_set)}: mAP by time"
            y = "" if look.no_title else "mAP, %"
            panel(axes, title, "Milliseconds per image, on the CPU", y, look)
            log_scale(axes, [row["milliseconds"] for row in rows])
            for row, key in zip(rows, keys, strict=True):
                mean_ap = 100 * row["accuracy"][test_set]["mAP"]
                axes.plot(
                    row["milliseconds"], mean_ap, marker=key.get_marker(), color=key.get_color()
                )
        legend_below(figure, keys)


def draw_curves(
    history: Sequence[Mapping[str, Any]], path: str | Path, look: Look = SCREEN
) -> None:
    """Draw the training curves in an image file.

    history: one dict per epoch, with epoch, loss and error and, if available, loss_NAME of each
    loss, val_loss, val_error (errors in 0..1), lr, and mAP and rank1 (0..1), which some epochs may
    lack. Values that are not finite leave a gap.
    """
    every_panel = panels_of(history)
    titles = [*every_panel]
    losses = [*every_panel.get("Each loss", {}).values()]
    crowded = len(losses) > MOST_IN_PANEL
    below = legend_height(losses, 7.4, look) if crowded else 0
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
        below=0.2 if look.width else below,
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
        if look.width or crowded:  # the panels are too small for their own legends
            share_legend(figure)
        relabel(figure, look)


def panels_of(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the panels of PANELS for which there is something to draw."""
    names = dict.fromkeys(name for record in history for name in record)
    losses = {name: name.removeprefix(SUMMAND) for name in names if name.startswith(SUMMAND)}
    title, *others = PANELS.items()
    every = dict([title, ("Each loss", losses), *others])
    return {title: lines for title, lines in every.items() if names.keys() & lines.keys()}


def _draw_panel(
    axes: Axes, history: Sequence[Mapping[str, Any]], lines: Mapping[str, str], look: Look
) -> None:
    colours = style.line_colours(look)
    for index, (name, label) in enumerate(lines.items()):
        again, number = divmod(index, len(colours))  # a colour comes back with another pattern
        colour, pattern = colours[number], LINE_PATTERNS[(number + again) % len(LINE_PATTERNS)]
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
    """Mark, at the top of the axes, each epoch whose validation loss is above the axes' range."""
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
