"""Measure the similarity above which two images show the same person, and the errors at this threshold.

    python tools/threshold.py
    python tools/threshold.py --rule 1e-3 --save market_threshold     # market_threshold.json, and a plot in .png

A pair is a query and a gallery image from different cameras: genuine if both show the same person, else an impostor.
--rule eer takes the threshold that accepts as large a share of impostors as it refuses of genuine pairs; 1e-3 and 1e-4
accept at most that share of impostors; hardest is eer on each query's least similar genuine pair and most similar
impostor.
"""

from pathlib import Path

from person_reid.basics import with_ending, write_json
from person_reid.cli.parser import Parser
from person_reid.retrieval.results import RESULT, load_result
from person_reid.retrieval.thresholds import FALSE_POSITIVE_RATES, pair_similarities, summarize


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write SAVE.json and SAVE.png."""
    parser = Parser(__doc__)
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument("--rule", default="eer", choices=("eer", *FALSE_POSITIVE_RATES, "hardest"), help="see above")
    parser.add_argument("--ignore_cameras", action="store_true", help="count pairs from the same camera, too")
    parser.add_argument("--save", type=Path, default=Path("threshold"), help="name of the .json and .png to write")
    args = parser.parse_args(argv)
    query, gallery = load_result(args.result)
    pairs = pair_similarities(query, gallery, args.ignore_cameras)
    found = summarize(pairs)
    kind, rule = ("hardest_per_query", "eer") if args.rule == "hardest" else ("all_pairs", args.rule)
    threshold = found[kind]["rules"][rule]["threshold"]
    for name, rates in found.items():
        rules = rates["rules"]
        print(f"{name.replace('_', ' ')}: {rates['genuine']} genuine, {rates['impostor']} impostor")
        print(f"  EER {rules['eer']['error']:.4f} at threshold {rules['eer']['threshold']:.4f}")
        for rate in FALSE_POSITIVE_RATES:
            print(f"  TPR {rules[rate]['tpr']:.4f} at FPR {rate}, threshold {rules[rate]['threshold']:.4f}")
    print(f"threshold {threshold:.4f} ({args.rule})")
    report = {"threshold": threshold, "rule": args.rule, "result": str(args.result), **found}
    figures, plot = (with_ending(args.save, ending, ".json", ".png") for ending in (".json", ".png"))
    write_json(figures, report)

    from person_reid.show.histogram import draw_similarities  # matplotlib loads slowly

    draw_similarities(pairs, threshold, plot)
    print(f"{figures}, {plot}")
