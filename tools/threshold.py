# PYTHON_ARGCOMPLETE_OK
"""From which similarity on two images show the same person: the threshold, with what it accepts and refuses.

python tools/threshold.py
python tools/threshold.py --rule 1e-3 --save market_threshold     # market_threshold.json, and .png to look at
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.threshold import main

if __name__ == "__main__":
    run_script(main)
