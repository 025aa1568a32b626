# PYTHON_ARGCOMPLETE_OK
"""Adapt a network to your cameras with images that nobody has labelled.

python tools/adapt.py --data_dir crops --name mine --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth
python tools/adapt.py --data_dir crops --name mine --from ft_ResNet50                # start from a run
python tools/adapt.py --data_dir crops --name mine --resume                          # continue after an interruption
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.adapt import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
