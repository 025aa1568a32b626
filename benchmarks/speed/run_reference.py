# PYTHON_ARGCOMPLETE_OK
"""Evaluate or re-rank a file of features with the reference programs, which are slow and dense.

    python benchmarks/speed/run_reference.py evaluate pytorch_result.mat
    python benchmarks/speed/run_reference.py k-reciprocal pytorch_result.mat

benchmarks/speed/evaluation.py and benchmarks/speed/reranking.py compare the suite with them.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from benchmarks.support.references import dense_k_reciprocal, loop_evaluate
from person_reid.console import run_script
from person_reid.retrieval.results import load_result


def main(argv=None):
    """Print a line of results, as evaluate.py and evaluate_rerank.py do."""
    parser = Parser(__doc__)
    parser.add_argument(
        "what", choices=("evaluate", "k-reciprocal"), help="plain, or after re-ranking"
    )
    parser.add_argument("result", type=Path, help="features written by test.py")
    options = parser.parse_args(argv)
    query, gallery = load_result(options.result)
    scores = (
        None
        if options.what == "evaluate"
        else -dense_k_reciprocal(query.features, gallery.features)
    )
    precision, penalty, first = loop_evaluate(query, gallery, scores)
    ranks = " ".join(f"Rank@{k}:{np.mean((first >= 0) & (first < k)):.6f}" for k in (1, 5, 10))
    print(f"{ranks} mAP:{precision.mean():.6f} mINP:{penalty.mean():.6f}")


if __name__ == "__main__":
    run_script(main)
