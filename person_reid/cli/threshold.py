"""Measure the similarity above which two images show the same person, and the errors at this
threshold.

    python tools/threshold.py
    python tools/threshold.py --rule 1e-3 --save market_threshold  # and a plot in .png

A pair is a query and a gallery image from different cameras: genuine if both show the same person,
else an impostor. --rule eer takes the threshold at which the share of impostors accepted equals the
share of genuine pairs rejected; 1e-3 and 1e-4 accept that share of impostors; hardest is eer on
each query's least similar genuine pair and most similar impostor.

    python tools/threshold.py --false_match_rate 1e-3 --confidence 0.95    # for pairs
    python tools/threshold.py --false_match_rate 1e-2 --gallery_size 5000  # for searches

These thresholds carry a promise: with this confidence, other people in front of the same cameras
are falsely matched no more often than asked. A promise takes 50 people or more; if there are too
few, the program says how many it takes. For pairs, each pair of cameras gets a threshold of its own
as well. compare.py, search.py, demo.py and save_pretrained.py repeat the promise. Distractors count
for the rules, but not for the promise.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.basics import UserError, with_ending, write_json
from person_reid.cli.outputs import check_beside, check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.values import output_path, positive, share
from person_reid.retrieval.bound import Promise, promised
from person_reid.retrieval.results import (
    FLAGS,
    NETWORK,
    RESULT,
    FeatureSet,
    load_result,
    read_notes,
)
from person_reid.retrieval.thresholds import (
    FALSE_POSITIVE_RATES,
    MEASURED_ON,
    error_rates,
    holds_threshold,
    pair_similarities,
    roc,
)

TESTED = 0  # --gallery_size without a number
SEARCHES = (
    "count searches among N images that accept a stranger, not pairs; without "
    "N, among as many as were tested"
)


def parse(argv: list[str] | None) -> Namespace:
    """Return the flags, resolved. Raises UserError for those that exclude each other."""
    parser = Parser(__doc__)
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    rules = ("eer", *FALSE_POSITIVE_RATES, "hardest")
    parser.add_argument("--rule", choices=rules, help="see above (default: eer)")
    parser.add_argument(
        "--ignore_cameras", action="store_true", help="count pairs from the same camera, too"
    )
    parser.add_argument(
        "--save",
        type=output_path,
        default=Path("threshold"),
        help="name of the .json and .png to write",
    )
    promise = parser.add_argument_group("a threshold with a promise")
    promise.add_argument(
        "--false_match_rate", type=share, metavar="RATE", help="largest share of strangers accepted"
    )
    promise.add_argument(
        "--confidence", type=share, help="probability that the rate is kept (default: 0.95)"
    )
    promise.add_argument(
        "--gallery_size", type=positive(int), nargs="?", const=TESTED, metavar="N", help=SEARCHES
    )
    args = parser.parse_args(argv)
    given = [
        f"--{name}" for name in ("confidence", "gallery_size") if getattr(args, name) is not None
    ]
    if given and args.false_match_rate is None:
        raise UserError(
            f"{' and '.join(given)} would be ignored without --false_match_rate RATE: add it."
        )
    if args.false_match_rate is not None and args.rule:
        raise UserError("--rule and --false_match_rate both choose the threshold: leave one out.")
    args.rule, args.confidence = args.rule or "eer", args.confidence or 0.95
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write SAVE.json and SAVE.png."""
    args = parse(argv)
    figures, plot = (
        with_ending(args.save, ending, ".json", ".png") for ending in (".json", ".png")
    )
    check_outputs(args, save=[figures, plot])
    check_beside("save", figures, plot)
    if figures.is_file() and not holds_threshold(figures):
        raise UserError(
            f"--save {figures}: not a file of this program. Move it, or choose another name."
        )
    query, gallery = load_result(args.result)
    pairs = pair_similarities(query, gallery, args.ignore_cameras)
    found = error_rates(pairs)
    kind, rule = (
        ("hardest_per_query", "eer") if args.rule == "hardest" else ("all_pairs", args.rule)
    )
    threshold = found[kind]["rules"][rule]["threshold"]
    for name, rates in found.items():
        rules = rates["rules"]
        print(f"{name.replace('_', ' ')}: {rates['genuine']} genuine, {rates['impostor']} impostor")
        print(f"  EER {rules['eer']['error']:.4f} at threshold {rules['eer']['threshold']:.4f}")
        for rate in FALSE_POSITIVE_RATES:
            print(
                f"  TPR {rules[rate]['tpr']:.4f} at FPR {rate}, threshold "
                f"{rules[rate]['threshold']:.4f}"
            )
    report = {"threshold": threshold, "rule": args.rule, "result": str(args.result), **found}
    notes = zip((MEASURED_ON, FLAGS), read_notes(args.result, NETWORK, FLAGS), strict=True)
    report |= {name: note for name, note in notes if note}
    if args.false_match_rate is None:
        print(f"threshold {threshold:.4f} ({args.rule})")
    else:
        report |= promises(query, gallery, args)
        threshold = report["threshold"]
        curve = roc(pairs.genuine, pairs.impostor)
        kept = curve.true_positives[np.searchsorted(curve.thresholds, threshold)]
        print(f"threshold {threshold:.4f} (TPR {kept:.4f})")
    write_json(figures, report)

    from person_reid.show.histogram import draw_similarities  # matplotlib loads slowly

    draw_similarities(pairs, threshold, plot)
    print(f"{figures}, {plot}")


def promises(query: FeatureSet, gallery: FeatureSet, args: Namespace) -> dict[str, Any]:
    """Print the promise and, for pairs, those of each pair of cameras;
    return what the file says of them.
    """
    size = 1 if args.gallery_size is None else args.gallery_size or int((gallery.labels > 0).sum())
    asked = args.false_match_rate, args.confidence
    found = promised(query, gallery, *asked, size, args.ignore_cameras)
    print(found)
    of_pairs: dict[str, Any] = {}
    if size == 1 and not args.ignore_cameras:
        for cameras, promise in of_cameras(query, gallery, *asked):
            if isinstance(promise, Promise):
                of_pairs[cameras] = asdict(promise)
            words = (
                promise
                if isinstance(promise, str)
                else f"threshold {promise.threshold:.4f}, {promise.people} people"
            )
            print(f"  cameras {cameras}: {words}")
    return {
        "threshold": found.threshold,
        "rule": "promise",
        "promise": asdict(found),
        "cameras": of_pairs,
    }


def of_cameras(
    query: FeatureSet, gallery: FeatureSet, rate: float, confidence: float
) -> Iterator[tuple[str, Promise | str]]:
    """Yield each pair of cameras, such as "1-2", and the Promise for images from
    the two, or why there is none.
    """
    cameras = np.union1d(query.cameras, gallery.cameras)
    for pair in combinations(cameras.tolist() if len(cameras) > 2 else [], 2):
        asked, there = (
            each.select(np.flatnonzero(np.isin(each.cameras, pair))) for each in (query, gallery)
        )
        try:
            promise: Promise | str = promised(asked, there, rate, confidence)
        except UserError as error:
            promise = str(error).partition(". ")[0]
        yield f"{pair[0]}-{pair[1]}", promise
