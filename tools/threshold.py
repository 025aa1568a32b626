"""From which similarity on two images show the same person: the threshold, with what it accepts and refuses.

    python tools/threshold.py
    python tools/threshold.py --rule 1e-3 --save market_threshold

Pairs are a query and a gallery image from different cameras. --rule eer takes the threshold at which as many strangers
are accepted as acquaintances refused; 1e-3 and 1e-4 the one that accepts no more than that share of strangers; hardest
the first rule on every query's least similar own image and most similar stranger.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reid.retrieval.results import load_result
from reid.retrieval.thresholds import BINS, FALSE_POSITIVE_RATES, pair_similarities, roc, summarize
from utils import atomic_write, run_script


def main(argv=None):
    """Measure, print, and write SAVE.json and SAVE.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=Path("pytorch_result.mat"), help="features written by test.py")
    parser.add_argument("--rule", default="eer", choices=("eer", *FALSE_POSITIVE_RATES, "hardest"))
    parser.add_argument("--ignore_cameras", action="store_true", help="pairs from one camera count as well")
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
    with atomic_write(args.save.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    with atomic_write(args.save.with_suffix(".png")) as temporary:
        draw(pairs, threshold).savefig(temporary, format="png", dpi=120)
    print(f"{args.save.with_suffix('.json')}, {args.save.with_suffix('.png')}")


def draw(pairs, threshold):
    """A figure: similarities of all pairs, of the hardest pairs, and the ROC of both."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    kinds = (
        (left, "all pairs", pairs.genuine, pairs.impostor),
        (middle, "hardest of every query", pairs.hardest_genuine, pairs.hardest_impostor),
    )
    for axes, title, genuine, impostor in kinds:
        for counts, name, colour in ((genuine, "same person", "tab:green"), (impostor, "strangers", "tab:red")):
            shares = counts.reshape(128, -1).sum(axis=1) / counts.sum()
            axes.stairs(shares, np.linspace(-1, 1, 129), fill=True, alpha=0.5, color=colour, label=name)
        axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.3f}")
        axes.set(title=title, xlabel="similarity", ylabel="share of pairs", xlim=(_lowest(genuine + impostor), 1))
        axes.legend(fontsize=8)
        curve = roc(genuine, impostor)
        right.plot(np.maximum(curve.false_positives, 1e-6), curve.true_positives, label=title)
    right.set(title="ROC", xlabel="strangers accepted", ylabel="own images accepted", xscale="log", xlim=(1e-5, 1))
    right.legend(fontsize=8)
    return figure


def _lowest(counts):
    return np.flatnonzero(counts)[0] / BINS * 2 - 1


if __name__ == "__main__":
    run_script(main)
