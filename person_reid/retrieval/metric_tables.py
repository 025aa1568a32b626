"""Write metrics as a table: Markdown, LaTeX or comma-separated values."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from person_reid.config.evaluate import CONFIDENCE
from person_reid.config.look import TableForm
from person_reid.data.own.labels import NUMBERS, words_beside
from person_reid.files import csv_text, write_csv
from person_reid.retrieval.metrics import RANKS, Metrics
from person_reid.retrieval.results import FeatureSet
from person_reid.text import markdown_table, printable

Measured = TypeVar("Measured")
Seeds = Sequence[Metrics]  # one network, trained with several seeds
WORST = 5  # queries that save_per_query names
# The seed in a run's name: marked by the word "seed", or just a number at one end.
MARKED = re.compile(r"[\W_]*seed[\W_]*(\d+)", re.IGNORECASE)
COUNTED = re.compile(r"(?:^|[\W_])(\d+)(?=$|/)")
PLUS_MINUS = " ± "
MATHEMATICS = re.compile(r"(\$[^$]+\$)")
IN_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
)


def written_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], form: TableForm, labels: str | None = None
) -> str:
    """Return a table in the requested format, by default Markdown.

    labels: the texts of --labels, which may contain LaTeX mathematics, as in OSNet$_{0.25}$.
    """
    if form.latex:
        return _as_latex(head, rows, (labels or "").split(","))
    if form.csv:
        return _as_csv(head, rows)
    return markdown_table(list(head), [list(row) for row in rows]).rstrip()


def figure_rows(
    runs: Mapping[str, Metrics | Seeds], ranks: Sequence[int] = RANKS
) -> tuple[list[str], list[list[str]]]:
    """Return the header of a table of rankings, and a row for each ranking with its metrics in %.

    An unusual protocol follows the name.
    runs: {name: the Metrics of a ranking, or of each of its seeds}. ranks: the k of each Rank@k.
    """
    rows = []
    for name, run in runs.items():
        seeds = together(run)
        figures = [[100 * metrics.rank(k) for metrics in seeds] for k in ranks]
        figures.append([100 * metrics.mAP for metrics in seeds])
        figures.append([100 * metrics.mINP for metrics in seeds])
        protocol = f" ({seeds[0].protocol})" if seeds[0].protocol else ""
        rows.append([f"{name}{protocol}", *map(with_deviation, figures)])
    mean_ap = next(metrics.ap_name for run in runs.values() for metrics in together(run))
    return ["run", *(f"Rank@{k}" for k in ranks), mean_ap, "mINP"], rows


def interval_rows(intervals: Mapping[str, Mapping[str, tuple[float, float]]]) -> list[list[str]]:
    """Return rows with the ends of confidence intervals, in %, to follow those of figure_rows."""
    return [
        [
            f"{name}, {100 * CONFIDENCE:g} % {end}",
            *(f"{100 * found[place]:.2f}" for found in ends.values()),
        ]
        for name, ends in intervals.items()
        for place, end in enumerate(("from", "to"))
    ]


def by_seed(runs: Mapping[str, Measured]) -> dict[str, list[Measured]]:
    """Group each network's runs with different seeds under their common name.

    A name contains the seed, as in net_seed7, or the number of the run, counted from 0 or 1, as in
    net_0, net_1 and net_2. Other numbers belong to the network: resnet50 and resnet101 are not
    grouped, nor are osnet_x0_25 and osnet_x0_75.
    """
    network: dict[str, str] = {}
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for name in runs:
        if marked := list(MARKED.finditer(name)):
            network[name] = _without(name, marked[-1])
        elif numbers := list(COUNTED.finditer(name)):
            counted[_without(name, numbers[-1])][name] = int(numbers[-1][1])
    for shared, seeds in counted.items():
        first = min(seeds.values())
        if first < 2 <= len(seeds) and sorted(seeds.values()) == [
            *range(first, first + len(seeds))
        ]:
            network |= dict.fromkeys(seeds, shared)
    found: dict[str, list[Measured]] = {}
    for name, run in runs.items():
        shared = network.get(name, name)
        apart = name in network and shared in runs  # a run without a seed already has this name
        found.setdefault(f"{shared} (seeds)" if apart else shared, []).append(run)
    return found


def _without(name: str, seed: re.Match[str]) -> str:
    """Return the name of a run without its seed."""
    rest = name[: seed.start()] + name[seed.end() :]
    return rest.strip("/-_. ") or "run"


def together(run: Metrics | Seeds) -> Seeds:
    """Return the Metrics of a run's seeds as a list."""
    return [run] if isinstance(run, Metrics) else run


def mean_and_deviation(values: Any) -> tuple[Any, Any]:
    """Return the mean of numbers or arrays, and their sample standard deviation.

    The deviation of a single value is 0.
    """
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1 if len(values) > 1 else 0)


def with_deviation(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean ± standard deviation of values, such as `88.70 ± 0.15`, or the only value."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f"{PLUS_MINUS}{deviation:.{digits}f}" if len(values) > 1 else "")


def save_per_query(path: str, query: FeatureSet, metrics: Metrics) -> str:
    """Write a CSV file with one line per query, and return a description of the worst queries.

    first_match counts from 1; it is empty if there is no match. If identities and cameras have
    names besides their numbers, two more columns hold the names.
    """
    names = [printable(path) for path in query.paths or [""] * len(query)]
    words = words_beside(query.paths[0]) if query.paths else NUMBERS
    shares = (metrics.average_precision, metrics.inverse_negative_penalty)
    measured = [[f"{share:.6f}" for share in each] for each in shares]
    ranks = [place + 1 or "" for place in metrics.first_match.tolist()]  # -1: no match
    header = ["query", "path", "identity", "camera", "AP", "INP", "first_match"]
    columns = [range(len(query)), names, query.labels, query.cameras, *measured, ranks]
    if words.table:
        header += ["identity_name", "camera_name"]
        columns.append([printable(words.identity(label)) for label in query.labels.tolist()])
        columns.append([printable(words.camera(camera)) for camera in query.cameras.tolist()])
    write_csv(path, header, zip(*columns, strict=True))
    lines = [f"{path}: {len(query)} queries, the worst of them:"]
    for index in np.argsort(metrics.average_precision, kind="stable")[:WORST]:
        precision, rank = metrics.average_precision[index], ranks[index] or "none"
        lines.append(
            f"  query {index} {names[index]} AP {precision:.4f}, first match at rank {rank}"
        )
    return "\n".join(lines)


def _as_csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as comma-separated values; deviations get their own columns."""
    columns = []
    for name, *cells in zip(head, *rows, strict=True):
        means, _, deviations = zip(*(cell.partition(PLUS_MINUS) for cell in cells), strict=True)
        columns.append([name, *means])
        if any(deviations):
            columns.append([f"{name} deviation", *deviations])
    return csv_text(zip(*columns, strict=True), "\n").rstrip()


def _as_latex(head: Sequence[str], rows: Sequence[Sequence[str]], own: Sequence[str]) -> str:
    r"""Return a LaTeX tabular for a document that has \usepackage{booktabs}.

    own: the user's cells, in which $…$ is mathematics.
    """

    def escaped(cell: str) -> str:
        name = cell.partition(" (")[0]  # without the protocol
        parts = MATHEMATICS.split(cell) if name in own else [cell]
        return "".join(
            part if place % 2 else part.translate(IN_LATEX) for place, part in enumerate(parts)
        )

    first, *others = [" & ".join(map(escaped, row)) + r" \\" for row in (head, *rows)]
    begin, end = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", first, r"\midrule", *others, r"\bottomrule", end])
