# PYTHON_ARGCOMPLETE_OK
"""Lay out a data set for training and testing, or draw one.

python prepare.py                                       # finds ../Market and others
python prepare.py --data_dir ~/data/DukeMTMC-reID       # makes ~/data/DukeMTMC-reID/pytorch
python prepare.py --dataset msmt17_v2                   # see docs/datasets.md
python prepare.py --data_dir ../Market/pytorch --check  # what training and test of a layout share
"""

from person_reid.cli.main import run_script
from person_reid.cli.prepare import main

if __name__ == "__main__":
    run_script(main)
