# PYTHON_ARGCOMPLETE_OK
"""Draw what each augmentation does to training images: one row per flag, each at probability 1.

python tools/augmentations.py --data_dir ../Market/pytorch
python tools/augmentations.py --data_dir data/synthetic/pytorch --people 10 --save augmented.pdf
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.augmentations import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
