# PYTHON_ARGCOMPLETE_OK
"""Measure how well enrolled people are recognised, and how well a gallery is grouped into people.

It compares `identify` and `people` of tools/search.py with the truth.

    python benchmarks/accuracy/people.py --result market.mat
    python benchmarks/accuracy/people.py --result market.mat --images 3 10 --track 5

Half of the people in a test set are enrolled with some gallery images each, and all queries are
compared with the images from other cameras. Prints rows of Markdown, means over the draws: the
share of queries of enrolled people whose best person is the right one (Rank@1), and the shares that
are also above the thresholds that a tenth and a hundredth of the queries of strangers reach.

Then the whole gallery is grouped. Purity is the share of grouped images whose group mostly shows
their person.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.gallery.identification import person_scores
from person_reid.retrieval.clusters import group_people
from person_reid.retrieval.results import load_result

RATES = (0.1, 0.01)  # shares of strangers mistaken for a known person
HEADER = "| images per person | Rank@1 | {} | threshold |".format(
    " | ".join(f"right, {rate:.0%} of strangers matched" for rate in RATES)
)
GROUPS = "| radius | images in groups | purity |"
RADII = (0.4, 0.5)


def main(argv=None):
    """Print a table with a row per number of images, and a table with a row per radius."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--result", type=Path, required=True, metavar="FILE", help="features of test.py"
    )
    parser.add_argument(
        "--images",
        type=positive(int),
        nargs="+",
        default=[1, 3, 10, 1000],
        help="most images of an enrolled person",
    )
    parser.add_argument(
        "--track", type=positive(int), default=1, help="most images of a query, from one camera"
    )
    parser.add_argument(
        "--draws", type=positive(int), default=5, help="how often to draw the people"
    )
    options = parser.parse_args(argv)
    query, gallery = (
        each.select(np.flatnonzero(each.labels > 0)) for each in load_result(options.result)
    )
    print(machine(), f"{HEADER}\n|{'---|' * (3 + len(RATES))}", sep="\n\n", flush=True)
    for most in options.images:
        draws = [
            trial(query, gallery, most, options.track, np.random.default_rng(i))
            for i in range(options.draws)
        ]
        *shares, threshold = np.mean(draws, axis=0)
        cells = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(f"| {most} | {cells} | {threshold:.3f} |", flush=True)
    print(f"\n{GROUPS}\n|{'---|' * 3}")
    for radius in RADII:
        print(grouped(gallery, radius), flush=True)


def trial(query, gallery, most, track, random):
    """Return Rank@1, the share of people named correctly at each rate, and the first threshold."""
    people = np.unique(query.labels)
    known = random.choice(people, len(people) // 2, replace=False)
    found = []
    for camera in np.unique(query.cameras):
        inside = random.permutation(
            np.flatnonzero(np.isin(gallery.labels, known) & (gallery.cameras != camera))
        )
        inside = inside[np.argsort(gallery.labels[inside], kind="stable")]
        enrolled = gallery.select(inside[nth(gallery.labels[inside]) < most])
        asked = np.flatnonzero(query.cameras == camera)
        tracks = [track_of(query, gallery, i, track) for i in asked]
        names, scores = person_scores(tracks, [(enrolled.labels.astype(str), enrolled.features)])
        truth = query.labels[asked]
        # A person whom only this camera knows is not searched for.
        asks = np.isin(truth, enrolled.labels) | ~np.isin(truth, known)
        score = scores[asks]
        right = np.array(names)[score.argmax(axis=1)].astype(int) == truth[asks]
        found.append((right, score.max(axis=1), np.isin(truth[asks], known)))
    return rates(*map(np.concatenate, zip(*found, strict=True)))


def nth(labels):
    """Number the images of each person from 0, and return the numbers (N,).

    labels: (N,), sorted.
    """
    return np.arange(len(labels)) - np.searchsorted(labels, labels)


def track_of(query, gallery, asked, most):
    """Return the features (n, D) of a query and of its person's images from the same camera."""
    same = (gallery.labels == query.labels[asked]) & (gallery.cameras == query.cameras[asked])
    return np.concatenate(
        [query.features[asked : asked + 1], gallery.features[np.flatnonzero(same)[: most - 1]]]
    )


def rates(right, score, known):
    """Return [Rank@1, the shares of known people named at each rate, the first threshold]."""
    thresholds = [np.quantile(score[~known], 1 - rate, method="higher") for rate in RATES]
    return [
        right[known].mean(),
        *((right & (score > t))[known].mean() for t in thresholds),
        thresholds[0],
    ]


def grouped(gallery, radius):
    """Group the gallery within a radius, and return its row of the table."""
    names = group_people(gallery.features, gallery.cameras, [""] * len(gallery), radius)
    inside = np.array([bool(name) for name in names])
    groups, group = np.unique(np.array(names)[inside], return_inverse=True)
    people, person = np.unique(gallery.labels, return_inverse=True)
    table = np.zeros((len(groups), len(people)), int)
    np.add.at(table, (group, person[inside]), 1)
    purity = table.max(axis=1).sum() / inside.sum()
    return f"| {radius:g} | {100 * inside.mean():.1f} | {100 * purity:.1f} |"


if __name__ == "__main__":
    run_script(main)
