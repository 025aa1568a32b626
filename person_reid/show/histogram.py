"""How similar images of one person are, and images of two: histograms with a threshold, and the ROC."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from person_reid.retrieval.thresholds import BINS, roc
from person_reid.show.style import LINES, LINES_ON_DARK, panel, picture

BARS = 128  # over cosines in [-1, 1]


def draw_similarities(pairs, threshold, save, dark=False):
    """Draw the PairSimilarities to an image file: of all pairs, of the hardest of every query, and the ROC of both.

    threshold: the cosine from which on two images are taken for one person; 1 − cosine is the cosine distance.
    """
    same, other = (LINES_ON_DARK if dark else LINES)[:2]
    kinds = (
        ("All pairs", pairs.genuine, pairs.impostor),
        ("Hardest of every query", pairs.hardest_genuine, pairs.hardest_impostor),
    )
    with picture(save, 11, 4, dark) as figure:
        *histograms, right = figure.subplots(1, 3)
        for axes, (title, genuine, impostor) in zip(histograms, kinds, strict=True):
            panel(axes, title, "Cosine similarity", "Share of pairs")
            for counts, name, colour, hatch in (
                (genuine, "same person", same, ""),
                (impostor, "strangers", other, "///"),
            ):
                shares = counts.reshape(BARS, -1).sum(axis=1) / counts.sum()
                edges = np.linspace(-1, 1, BARS + 1)
                axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
                axes.stairs(shares, edges, fill=True, facecolor="none", edgecolor=colour, linewidth=0, hatch=hatch)
                axes.stairs(shares, edges, color=colour, linewidth=1.8, label=name)
            line = axes.axvline(threshold, color="#e2e8f0" if dark else "black", linestyle="--", linewidth=1.6)
            line.set_label(f"threshold {threshold:.3f}")
            axes.set(xlim=(np.flatnonzero(genuine + impostor)[0] / BINS * 2 - 1, 1))
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            curve = roc(genuine, impostor)
            right.plot(np.maximum(curve.false_positives, 1e-6), curve.true_positives, label=title.lower())
        panel(right, "ROC", "Strangers accepted", "Own images accepted")
        right.set(xscale="log", xlim=(1e-5, 1), ylim=(0, 1.02))
        right.yaxis.set_major_formatter(PercentFormatter(1))
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
        figure.legend(*histograms[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
