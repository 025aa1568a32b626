# PYTHON_ARGCOMPLETE_OK
"""Measure the similarity above which two images show the same person, and the errors at this
threshold.

python tools/threshold.py
python tools/threshold.py --rule 1e-3 --save market_threshold  # and a plot in .png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.threshold import main

if __name__ == "__main__":
    run_script(main)
