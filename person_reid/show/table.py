"""Write the figures of runs as a table for a paper: mean and deviation over their seeds."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from person_reid.retrieval.metrics import Metrics

RANKS = (1, 5, 10)
Seeds = Sequence[Metrics]  # of one network, trained several times
LAST_NUMBER = re.compile(r"[\W_]*(seed)?[\W_]*\d+(?=\D*$)")
IN_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
)


def together(run: Metrics | Seeds) -> Seeds:
    """Return a run as one of several seeds."""
    return [run] if isinstance(run, Metrics) else run


def by_seed(runs: Mapping[str, Metrics]) -> dict[str, list[Metrics]]:
    """Put together runs whose names differ in their last number alone; it leaves the names."""
    found: dict[str, list[Metrics]] = {}
    for name, metrics in runs.items():
        shared = LAST_NUMBER.sub("", name).strip("/-_. ")
        found.setdefault(shared or name, []).append(metrics)
    return found


def mean_and_deviation(values: Any) -> tuple[Any, Any]:
    """Return the mean of values, numbers or arrays alike, and their sample standard deviation.

    The deviation of a single value is 0.
    """
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1 if len(values) > 1 else 0)


def with_deviation(values: Sequence[float], digits: int = 2) -> str:
    """Return `88.70 ± 0.15`, the mean of values and their deviation, or the only value."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def figure_rows(runs: Mapping[str, Metrics | Seeds]) -> list[list[str]]:
    """Return the head of a table of runs, and a row for each, in percent."""
    rows = [["run", *(f"Rank@{k}" for k in RANKS), "mAP", "mINP", "seeds"]]
    for name, run in runs.items():
        seeds = together(run)
        figures = [[100 * metrics.rank(k) for metrics in seeds] for k in RANKS]
        figures += [
            [100 * metrics.mAP for metrics in seeds],
            [100 * metrics.mINP for metrics in seeds],
        ]
        rows.append([name, *map(with_deviation, figures), str(len(seeds))])
    return rows


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    """Return comma-separated values; the deviation of each figure has a column of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    (run, *names, seeds), *others = rows
    writer.writerow([run, *(each for name in names for each in (name, f"{name} deviation")), seeds])
    for name, *figures, count in others:
        parts = (figure.partition(" ± ")[::2] for figure in figures)
        writer.writerow([name, *(part for pair in parts for part in pair), count])
    return text.getvalue().rstrip()


def as_latex(rows: Sequence[Sequence[str]]) -> str:
    r"""Return a tabular for a document that has \usepackage{booktabs}."""
    head, *others = [" & ".join(cell.translate(IN_LATEX) for cell in row) + r" \\" for row in rows]
    begin, end = rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *others, r"\bottomrule", end])
