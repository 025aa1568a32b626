"""Rank@1, Rank@5, Rank@10, mAP and mINP after re-ranking the gallery for every query.

python evaluate_rerank.py
python evaluate_rerank.py --k1 20 --k2 6 --lambda_value 0.3
"""

from reid.retrieval.command import announce, evaluation_parser, measure, read_result, report, save_per_query
from reid.retrieval.k_reciprocal import KReciprocalScores
from utils import run_script


def main(argv=None):
    """Print the line of results after re-ranking."""
    parser = evaluation_parser(__doc__)
    parser.add_argument("--k1", type=int, default=20, help="neighbours that describe an image")
    parser.add_argument("--k2", type=int, default=6, help="neighbours whose descriptions are averaged")
    parser.add_argument("--lambda_value", type=float, default=0.3, help="share of the original distance")
    args = parser.parse_args(argv)
    query, gallery = read_result(args)
    announce(args, query, gallery)
    scores = KReciprocalScores(query.features, gallery.features, args.k1, args.k2, args.lambda_value)
    metrics = measure(args, query, gallery, scores=scores)
    report(args, metrics, "re-ranked ")
    save_per_query(args, query, metrics)


if __name__ == "__main__":
    run_script(main)
