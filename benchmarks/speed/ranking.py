# PYTHON_ARGCOMPLETE_OK
"""Compare evaluate.py and evaluate_rerank.py, as whole processes, with simple slow programs.

    python benchmarks/speed/ranking.py --methods none --sizes market msmt17 market+500k
    python benchmarks/speed/ranking.py --result pytorch_result.mat
    python benchmarks/speed/ranking.py --sizes msmt17 --methods k-reciprocal gnn --no_reference

The features are synthetic, or from a result file. `--methods none` ranks without re-ranking. The
slow programs are a loop that sorts the gallery for each query, and a dense implementation of
k-reciprocal re-ranking, which needs 9 GB at Market-1501's size. Prints rows of Markdown.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import SIZES, apart, describe, machine, result_files, run_process
from benchmarks.support.parser import Parser
from benchmarks.support.references import dense_k_reciprocal, loop_evaluate
from person_reid.console import run_script
from person_reid.retrieval.results import load_result

METHODS = ("none", "k-reciprocal", "gnn", "aqe")
REFERENCES = METHODS[:2]
TIMES = 3  # runs of the suite; the fastest counts


def main(argv=None):
    """Print a row for each size and method, and for the slow program that corresponds to it."""
    parser = Parser(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["market"], help="to draw")
    parser.add_argument("--result", type=Path, help="file to rank, in place of synthetic features")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="only these")
    parser.add_argument("--no_reference", action="store_true", help="time only the suite")
    parser.add_argument("--only", choices=REFERENCES, help="run this slow program on --result here")
    options = parser.parse_args(argv)
    if options.only:
        print(reference(options.only, options.result))
        return
    print(f"{machine()}\n\n| features | method | time | peak GB | result |\n|{'---|' * 5}")
    with tempfile.TemporaryDirectory() as folder:
        for path in result_files(options, folder):
            name = apart(describe, path)[0]
            for method in options.methods:
                compare(name, method, path, options.no_reference or method not in REFERENCES)


def compare(name, method, path, alone):
    """Print the rows for a method. alone: without the slow program."""
    script = ["evaluate.py"] if method == "none" else ["evaluate_rerank.py", "--method", method]
    fastest = min(run_process(*script, "--result", path) for _ in range(TIMES))
    runs = {method: fastest}
    if not alone:
        runs[f"{method}, slow"] = run_process(__file__, "--only", method, "--result", path)
    for way, (seconds, peak, line) in runs.items():
        times = f"{seconds:.2f} s ({seconds / fastest[0]:.1f}×)"
        print(f"| {name} | {way} | {times} | {peak:.2f} | {line} |", flush=True)


def reference(method, path):
    """Return the line of metrics that evaluate.py or evaluate_rerank.py should print."""
    query, gallery = load_result(path)
    scores = None if method == "none" else -dense_k_reciprocal(query.features, gallery.features)
    precision, penalty, first = loop_evaluate(query, gallery, scores)
    ranks = " ".join(f"Rank@{k}:{np.mean((first >= 0) & (first < k)):.6f}" for k in (1, 5, 10))
    return f"{ranks} mAP:{precision.mean():.6f} mINP:{penalty.mean():.6f}"


if __name__ == "__main__":
    run_script(main)
