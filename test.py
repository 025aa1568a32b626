# PYTHON_ARGCOMPLETE_OK
"""Extract the features of query and gallery, and evaluate them.

python test.py --name ft_ResNet50 --test_dir ../Market/pytorch
python test.py --name ft_ResNet50 --which_epoch 60 --ms 1,1.1,1.2 --multi
python test.py --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth  # a weight file
"""

from person_reid.cli.main import run_script
from person_reid.cli.test import main

if __name__ == "__main__":
    run_script(main)
