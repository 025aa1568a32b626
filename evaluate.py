# PYTHON_ARGCOMPLETE_OK
"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP of the features that test.py wrote. Needs only NumPy and SciPy.

python evaluate.py
python evaluate.py --result market.mat --ap step
python evaluate.py --save_per_query queries.csv
"""

from person_reid.cli.evaluate import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
