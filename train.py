# PYTHON_ARGCOMPLETE_OK
"""Train a network to tell identities apart.

python train.py --train_all                                       # ResNet-50 on ../Market/pytorch
python train.py --backbone osnet_x0_25 --weights none --data_dir data/synthetic/pytorch --name small
python train.py --name small --resume                             # continue after an interruption
"""

from person_reid.cli.main import run_script
from person_reid.cli.train import main

if __name__ == "__main__":
    run_script(main)
