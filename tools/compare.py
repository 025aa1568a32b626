# PYTHON_ARGCOMPLETE_OK
"""Decide whether two images show the same person, and print the similarity and the threshold.

python tools/compare.py a.jpg b.jpg --name ft_ResNet50
python tools/compare.py a.jpg b.jpg --backbone osnet_x0_25 --weights osnet.pth --threshold 0.7
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.compare import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
