"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP after re-ranking the gallery for every query.

    python evaluate_rerank.py
    python evaluate_rerank.py --method gnn
    python evaluate_rerank.py --method aqe --k1 5 --alpha 3
    python evaluate_rerank.py --gpu_ids 0 --neighbours faiss

Prints one line for single queries and, if --multi_query names a file, one for multiple queries.
"""

from person_reid.cli.evaluation import evaluation_parser, run_evaluation
from person_reid.cli.parser import Parser
from person_reid.cli.reranking import add_rerank_flags, rerank_spec
from person_reid.device import select_device
from person_reid.retrieval.rerank import rescorer


def main(argv: list[str] | None = None) -> None:
    """Re-rank and evaluate."""
    args = reranking_parser(__doc__).parse_args(argv)
    device = None if args.gpu_ids == "-1" else select_device(args.gpu_ids)
    run_evaluation(args, device, rescore=rescorer(rerank_spec(args)), prefix="re-ranked ")


def reranking_parser(text: str | None = "") -> Parser:
    """Return the parser of evaluate_rerank.py. text: see Parser."""
    parser = evaluation_parser(text, "also re-rank these features, written by test.py --multi", reranks=True)
    add_rerank_flags(parser)
    parser.add_argument("--gpu_ids", default="-1", help="GPU to re-rank on; -1 for the CPU, without torch")
    return parser
