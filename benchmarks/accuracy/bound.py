# PYTHON_ARGCOMPLETE_OK
"""Measure how often the bound of tools/threshold.py --false_match_rate holds.

    python benchmarks/accuracy/bound.py --results market.mat synthetic.mat

People are drawn from a test set with replacement, many times, so that the test set is the
population and its rate is the true rate. A bound fails if that rate exceeds the requested one; at
most one in twenty may fail. The last columns compare how many genuine pairs reach the bounded
threshold with how many reach the point estimate from the same draw. Prints rows of Markdown.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.retrieval.bound import THRESHOLD_STEPS, false_matches, lowest_step
from person_reid.retrieval.matches import find_pairs
from person_reid.retrieval.results import load_result
from person_reid.text import markdown_table

SHARE = 0.06  # the most similar pairs of strangers, as a share of all; only these matter
RATE = 1e-3
HEAD = ["test set", "rate", "people", "fails", "pairs of one person accepted", "by point estimate"]


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, metavar="FILE", help="features of test.py"
    )
    parser.add_argument(
        "--people", type=positive(int), nargs="+", default=[50, 400], help="people per draw"
    )
    parser.add_argument("--draws", type=positive(int), default=200, help="number of draws")
    options = parser.parse_args(argv)
    rows = []
    for path in options.results:
        query, gallery = (people_of(each) for each in load_result(path))
        pairs = Pairs(query, gallery)
        for people in options.people:
            draws = [pairs.draw(np.random.default_rng(i), people) for i in range(options.draws)]
            kept = [draw for draw in draws if draw[0] is not None]
            if not kept:
                rows.append([path.stem, f"{RATE:g}", str(people), "no bound", "", ""])
                continue
            own, point = (np.mean([pairs.accepted(draw[i]) for draw in kept]) for i in (0, 2))
            fails = np.mean([draw[1] > RATE for draw in kept])
            figures = [f"{fails:.1%}", f"{own:.3f}", f"{point:.3f}"]
            rows.append([path.stem, f"{RATE:g}", str(people), *figures])
    print(machine(), markdown_table(HEAD, rows), sep="\n\n")


def people_of(images):
    """Return a FeatureSet without junk and distractors."""
    return images.select(np.flatnonzero(images.labels > 0))


class Pairs:
    """The most similar SHARE of a test set's pairs of strangers, with their similarities."""

    def __init__(self, query, gallery):
        labels = np.union1d(query.labels, gallery.labels)
        self.people = len(labels)
        at = [np.searchsorted(labels, each.labels) for each in (query, gallery)]
        seen = [
            np.zeros((self.people, 1 + max(query.cameras.max(), gallery.cameras.max())))
            for _ in range(2)
        ]
        for table, person, each in zip(seen, at, (query, gallery), strict=True):
            np.add.at(table, (person, each.cameras), 1)
        self.cells = seen[0].sum(1)[:, None] * seen[1].sum(1) - seen[0] @ seen[1].T
        np.fill_diagonal(self.cells, 0)
        counts = false_matches(query, gallery)[0].sum(axis=0)
        lowest = int(np.flatnonzero(counts > SHARE * counts[0])[-1])
        parts = []
        for start in range(0, len(query), 256):
            steps = np.rint(
                query.features[start : start + 256] @ gallery.features.T * THRESHOLD_STEPS
            ).astype(np.int32)
            steps[query.cameras[start : start + 256, None] == gallery.cameras] = -1
            steps[query.labels[start : start + 256, None] == gallery.labels] = -1
            rows, columns = np.nonzero(steps >= lowest)
            parts.append((at[0][start + rows], at[1][columns], steps[rows, columns]))
        self.first, self.second, self.step = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        rows, columns = find_pairs(query, gallery)[0]
        self.own = np.sort(
            np.rint(
                np.einsum("nd,nd->n", query.features[rows], gallery.features[columns])
                * THRESHOLD_STEPS
            )
        )

    def draw(self, random, count):
        """Return (bounded threshold or None, its true rate, point estimate) for RATE."""
        drawn = np.sort(random.choice(self.people, count))
        start, times = np.unique(drawn, return_index=True, return_counts=True)[1:]
        begin, copies = np.zeros(self.people, int), np.zeros(self.people, int)
        begin[drawn[start]], copies[drawn[start]] = start, times
        pairs = np.repeat(np.arange(len(self.step)), copies[self.first] * copies[self.second])
        nth = np.arange(len(pairs)) - np.searchsorted(pairs, pairs)
        first = begin[self.first[pairs]] + nth % copies[self.first[pairs]]
        second = begin[self.second[pairs]] + nth // copies[self.first[pairs]]
        table = np.zeros(count * (THRESHOLD_STEPS + 1), np.int64)
        for person in (first, second):
            place = person * (THRESHOLD_STEPS + 1) + self.step[pairs]
            table += np.bincount(place, minlength=len(table))
        table = table.reshape(count, -1)
        table = table[:, ::-1].cumsum(axis=1)[:, ::-1]
        cells = self.cells[np.ix_(drawn, drawn)]
        table[:, 0] = cells.sum(0) + cells.sum(1)
        step = lowest_step(table, RATE, 0.95)[0]
        true = 0 if step is None else (self.step >= step).sum()
        estimate = int(np.argmax(table.sum(axis=0) <= RATE * table[:, 0].sum()))
        return step, true / self.cells.sum(), estimate

    def accepted(self, step):
        """Return the share of genuine pairs that reach a threshold."""
        return 1 - np.searchsorted(self.own, step) / len(self.own)


if __name__ == "__main__":
    run_script(main)
