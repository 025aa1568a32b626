"""Draw histograms of the similarity of images of one person and of two, and the ROC.

The histograms show a threshold.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from person_reid.retrieval.bound import THRESHOLD_STEPS
from person_reid.retrieval.thresholds import BINS, Counts, PairSimilarities, roc
from person_reid.show import style
from person_reid.show.style import SCREEN, Look, in_percent, legend_below, panel, panels, relabel

# The cosine of each bin of a histogram.
COSINES = np.arange(-THRESHOLD_STEPS, THRESHOLD_STEPS + 1) / THRESHOLD_STEPS
MOST_BARS = 256  # across the cosines in [-1, 1]
PAD = 0.04  # of cosine, left of the first bar


def draw_similarities(
    pairs: PairSimilarities, threshold: float, save: str | Path, look: Look = SCREEN
) -> None:
    """Draw histograms of all pairs and of the hardest pair of each query, and the ROC of both.

    threshold: the lowest cosine at which two images count as one person; 1 − cosine is the cosine
        distance.
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
            each.set_color(colour)  # the first two are of people
        curves.set(xscale="log", xlim=(1e-5, 1), ylim=(0, 1.02))
        curves.set_xticks([10.0**power for power in range(-4, 1, 2 if look.width else 1)])
        in_percent(curves.xaxis)
        in_percent(curves.yaxis, 5 if look.width else 11)
        legend_below(figure, [*keys, line, *curves.lines])
        relabel(figure, look)


def _histogram(axes: Axes, genuine: Counts, impostor: Counts, look: Look) -> list[Patch]:
    """Draw two histograms, and return their keys for a legend.

    Bars are as wide as the smaller number of pairs needs.
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

    By Rice's rule, twice the cube root of the number of pairs share the range in which these lie.
    """
    wanted = min(
        2 * counts.sum() ** (1 / 3) / (np.ptp(np.flatnonzero(counts)) / BINS + 1 / BINS)
        for counts in (genuine, impostor)
    )
    return int(2 ** np.clip(np.round(np.log2(wanted)), 3, np.log2(MOST_BARS)))
