"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP of the features that test.py wrote. Needs only NumPy and SciPy.

    python evaluate.py
    python evaluate.py --result market.mat --ap step
    python evaluate.py --save_per_query queries.csv

Prints one line for single queries and, if there is a multi_query.mat, one for multiple queries.
"""

from person_reid.cli.evaluation import evaluation_parser, run_evaluation


def main(argv: list[str] | None = None) -> None:
    """Evaluate on the CPU."""
    run_evaluation(evaluation_parser(__doc__).parse_args(argv))
