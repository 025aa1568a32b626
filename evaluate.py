"""Rank@1, Rank@5, Rank@10, mAP and mINP of the features that test.py wrote. Needs NumPy and SciPy alone.

python evaluate.py
python evaluate.py --result market.mat --ap step
python evaluate.py --save_per_query queries.csv
"""

from reid.retrieval.command import (
    add_multi_query,
    announce,
    evaluation_parser,
    measure,
    read_multi_query,
    read_result,
    report,
    save_per_query,
)
from utils import run_script


def main(argv=None):
    """Print the single-query line and, where multi_query.mat is there, the multiple-query line."""
    parser = evaluation_parser(__doc__)
    add_multi_query(parser)
    args = parser.parse_args(argv)
    query, gallery = read_result(args)
    announce(args, query, gallery)
    metrics = measure(args, query, gallery)
    report(args, metrics)
    save_per_query(args, query, metrics)
    merged = read_multi_query(args, query)
    if merged is not None:
        report(args, measure(args, merged, gallery), "multi ")


if __name__ == "__main__":
    run_script(main)
