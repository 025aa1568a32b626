# PYTHON_ARGCOMPLETE_OK
"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP after re-ranking the gallery for every query.

python evaluate_rerank.py
python evaluate_rerank.py --method gnn
python evaluate_rerank.py --method aqe --k1 5 --alpha 3
"""

from person_reid.cli.evaluate_rerank import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
