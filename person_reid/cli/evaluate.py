"""Rank@1, Rank@5, Rank@10, mAP and mINP of the features that test.py wrote. Needs NumPy and SciPy alone.

    python evaluate.py
    python evaluate.py --result market.mat --ap step
    python evaluate.py --save_per_query queries.csv

Prints a line for single queries and, where multi_query.mat is there, one for multiple queries.
"""

from person_reid.cli.evaluation import evaluation_parser, run_evaluation


def main(argv=None):
    run_evaluation(evaluation_parser(__doc__).parse_args(argv))
