# PYTHON_ARGCOMPLETE_OK
"""Measure how often the bound of tools/threshold.py --false_match_rate holds.

It draws people from a test set many times.

    python benchmarks/accuracy/bound.py --results market.mat synthetic.mat

Prints rows of Markdown. "Drawn": people are drawn with replacement, so that the test set is the
population and its rate is the true one. "Others": people are drawn once each, and the rate is
measured on the people left out; it scatters if few are left. A bound fails if the rate exceeds the
requested one; at most one in twenty may fail. "Own images accepted" compares the threshold with the
point estimate of the same people.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.retrieval.bound import (
    THRESHOLD_STEPS,
    bounded_threshold,
    false_matches,
    lowest_step,
)
from person_reid.retrieval.metrics import find_pairs
from person_reid.retrieval.results import load_result

SHARE = 0.06  # the most similar pairs of strangers, as a share of all; only these matter
HEADER = (
    "| test set | rate | people | with a bound | fails, drawn | fails, others | own images "
    "accepted | by point estimate |"
)
SEARCHES = "| test set | rate | searched among | people | with a bound | fails, others |"
LINE = "|---|---|---|---|---|---|"


def main(argv=None):
    """Print a table of pairs and one of searches."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, metavar="FILE", help="features of test.py"
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-2, 1e-3], help="false-match rates"
    )
    parser.add_argument(
        "--people",
        type=positive(int),
        nargs="+",
        default=[50, 100, 200, 400],
        help="people per draw",
    )
    parser.add_argument(
        "--draws", type=positive(int), default=200, help="times that people are drawn"
    )
    parser.add_argument(
        "--gallery_size", type=positive(int), default=100, help="images of a search"
    )
    options = parser.parse_args(argv)
    print(machine(), f"{HEADER}\n{LINE}---|---|", sep="\n\n", flush=True)
    sets = {path.stem: [people_of(each) for each in load_result(path)] for path in options.results}
    for name, (query, gallery) in sets.items():
        pairs = Pairs(query, gallery)
        for people in options.people:
            drawn = [
                pairs.trial(np.random.default_rng(i), people, options.rates, True)
                for i in range(options.draws)
            ]
            others = [
                pairs.trial(np.random.default_rng(i), people, options.rates, False)
                for i in range(options.draws * (2 * people < pairs.people))
            ]
            for at, rate in enumerate(options.rates):
                row = [pairs.broken(trials, at, rate) for trials in (drawn, others)]
                kept = [trial[at] for trial in drawn if trial[at][0] is not None]
                own, point = (np.mean([pairs.accepted(trial[i]) for trial in kept]) for i in (0, 2))
                share = len(kept) / options.draws
                print(
                    f"| {name} | {rate:g} | {people} | {share:.1%} | {row[0]} "
                    f"| {row[1]} | {own:.3f} | {point:.3f} |"
                )
                sys.stdout.flush()
    print(f"\n{SEARCHES}\n{LINE}")
    for name, (query, gallery) in sets.items():
        for people in options.people:
            print(searches(name, query, gallery, max(options.rates), people, options), flush=True)


def people_of(images):
    """Return a FeatureSet without junk and distractors."""
    return images.select(np.flatnonzero(images.labels > 0))


class Pairs:
    """The pairs of strangers in a test set: who, and how similar.

    Only the SHARE of them that is most similar is kept.
    """

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

    def trial(self, random, count, rates, replace):
        """Return for each rate: the bounded threshold or None, its true rate, the estimated one."""
        drawn = np.sort(random.choice(self.people, count, replace))
        start, times = np.unique(drawn, return_index=True, return_counts=True)[1:]
        begin, copies = np.zeros(self.people, int), np.zeros(self.people, int)
        begin[drawn[start]], copies[drawn[start]] = start, times
        pairs = np.repeat(np.arange(len(self.step)), copies[self.first] * copies[self.second])
        nth = np.arange(len(pairs)) - np.searchsorted(pairs, pairs)
        first = begin[self.first[pairs]] + nth % copies[self.first[pairs]]
        second = begin[self.second[pairs]] + nth // copies[self.first[pairs]]
        table = np.zeros(count * (THRESHOLD_STEPS + 1), np.int64)
        for person in (first, second):
            table += np.bincount(
                person * (THRESHOLD_STEPS + 1) + self.step[pairs], minlength=len(table)
            )
        table = table.reshape(count, -1)
        table = table[:, ::-1].cumsum(axis=1)[:, ::-1]
        cells = self.cells[np.ix_(drawn, drawn)]
        table[:, 0] = cells.sum(0) + cells.sum(1)
        rest = np.ones(self.people, bool) if replace else copies == 0
        there = np.sort(self.step[rest[self.first] & rest[self.second]])
        found = []
        for rate in rates:
            step = lowest_step(table, rate, 0.95)[0]
            true = (
                step is not None
                and (len(there) - np.searchsorted(there, step)) / self.cells[rest][:, rest].sum()
            )
            found.append(
                (step, true, int(np.argmax(table.sum(axis=0) <= rate * table[:, 0].sum())))
            )
        return found

    def accepted(self, step):
        """Return the share of pairs of one person that reach a threshold."""
        return 1 - np.searchsorted(self.own, step) / len(self.own)

    @staticmethod
    def broken(trials, at, rate):
        """Return the share of trials in which the true rate exceeds the asked one, as text."""
        return f"{np.mean([trial[at][1] > rate for trial in trials]):.1%}" if trials else ""


def searches(name, query, gallery, rate, count, options):
    """Return the row of searches of `count` people, drawn once each.

    The rate is measured on the people left out; the row says so if nobody is left.
    """
    labels = np.unique(query.labels)
    size = options.gallery_size
    broken = 0
    kept = 0
    if count >= len(labels):
        return f"| {name} | {rate:g} | {size} | {count} | nobody of {len(labels)} is left | |"
    for draw in range(options.draws):
        drawn = np.random.default_rng(draw).choice(labels, count, replace=False)
        inside = [
            each.select(np.flatnonzero(np.isin(each.labels, drawn))) for each in (query, gallery)
        ]
        outside = [
            each.select(np.flatnonzero(~np.isin(each.labels, drawn))) for each in (query, gallery)
        ]
        try:
            step = round(
                bounded_threshold(inside[0], inside[1], rate, 0.95, size).threshold
                * THRESHOLD_STEPS
            )
        except UserError:
            continue
        counts, images = false_matches(outside[0], outside[1], size)
        kept += 1
        broken += counts[:, step].sum() / counts[:, 0].sum() > rate * images / size
    return (
        f"| {name} | {rate:g} | {size} | {count} | {kept / options.draws:.1%} "
        f"| {broken / options.draws:.1%} |"
    )


if __name__ == "__main__":
    run_script(main)
