"""Draw how similar images of one person are, and of two: histograms
with a threshold, and the ROC.
"""

from pathlib import Path

import numpy as np

from person_reid.retrieval.thresholds import BINS, PairSimilarities, roc
from person_reid.show.style import LINES, LINES_ON_DARK, in_percent, panel, picture

BARS = 128  # across the cosines in [-1, 1]
PAD = 0.04  # of cosine, left of the first bar


def draw_similarities(
    pairs: PairSimilarities, threshold: float, save: str | Path, dark: bool = False
) -> None:
    """Draw histograms of all pairs and of the hardest pair of each query, and the ROC of both, to
    an image file.

    threshold: the lowest cosine at which two images count as one person; 1 − cosine is the cosine
    distance.
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
                axes.stairs(
                    shares,
                    edges,
                    fill=True,
                    facecolor="none",
                    edgecolor=colour,
                    linewidth=0,
                    hatch=hatch,
                )
                axes.stairs(shares, edges, color=colour, linewidth=1.8, label=name)
            line = axes.axvline(
                threshold, color="#e2e8f0" if dark else "black", linestyle="--", linewidth=1.6
            )
            line.set_label(f"threshold {threshold:.3f}")
            axes.set(
                xlim=(
                    min(np.flatnonzero(genuine + impostor)[0] / BINS * 2 - 1, threshold) - PAD,
                    1 + PAD / 4,
                )
            )
            in_percent(axes.yaxis)
            curve = roc(genuine, impostor)
            right.plot(
                np.maximum(curve.false_positives, 1e-6), curve.true_positives, label=title.lower()
            )
        panel(right, "ROC", "Strangers accepted", "Own images accepted")
        right.set(xscale="log", xlim=(1e-5, 1), ylim=(0, 1.02))
        in_percent(right.xaxis)
        in_percent(right.yaxis)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
        figure.legend(*histograms[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
