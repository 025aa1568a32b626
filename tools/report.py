# PYTHON_ARGCOMPLETE_OK
"""Write a tested run on one page, model/NAME/report.html: metrics, curves, thresholds, rankings and
heat maps.

python tools/report.py --name ft_ResNet50
python tools/report.py --name ft_ResNet50 --result market.mat --test_dir ../Market/pytorch \\
  --save report.html
python tools/report.py --backbone osnet_x0_25 --weights osnet.pth  # a weight file without a run
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.report import main

if __name__ == "__main__":
    run_script(main)
