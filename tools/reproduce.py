# PYTHON_ARGCOMPLETE_OK
"""Train, test and evaluate recipes, and write their figures beside the published ones.

python tools/reproduce.py recipes/market/resnet50.yaml
python tools/reproduce.py recipes/market/loss_*.yaml --seeds 3         # mean and spread
python tools/reproduce.py recipes/market/osnet_x0_25.yaml --seeds 4,7  # these two seeds
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.reproduce import main

if __name__ == "__main__":
    run_script(main)
