# PYTHON_ARGCOMPLETE_OK
"""Draw figures for a paper or a slide.

The ending of --save chooses the format: .png, .pdf, .svg or .jpg.

python tools/figures.py curves --name ft_ResNet50 --save curves.pdf
python tools/figures.py cmc resnet.mat osnet.mat --save cmc.pdf  # several runs in one figure
python tools/figures.py histogram --threshold threshold.json --save histogram.svg
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.figures import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
