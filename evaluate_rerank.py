# PYTHON_ARGCOMPLETE_OK
"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP after re-ranking the gallery for every query.

    python evaluate_rerank.py
    python evaluate_rerank.py --method gnn
    python evaluate_rerank.py --method aqe --k1 5 --alpha 3
    python evaluate_rerank.py --gpu_ids 0 --neighbours faiss

Prints one line for single queries and, if --multi_query names a file, one for multiple queries.
"""

import person_reid as reid
from evaluate import report
from person_reid.config.evaluate import EvaluateRerankConfig
from person_reid.console import parse, run_script


def main(argv: list[str] | None = None) -> None:
    """Re-rank and evaluate."""
    config = parse(EvaluateRerankConfig, argv, __doc__)
    device = None if config.gpu_ids == "-1" else reid.select_device(config.gpu_ids)
    report(config, device, rescore=reid.rescorer(config))


if __name__ == "__main__":
    run_script(main)
