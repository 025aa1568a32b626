# PYTHON_ARGCOMPLETE_OK
"""List images whose identity the features contradict, with a proposal and the probability that it
is right.

python tools/label_errors.py --data_dir ../Market/pytorch --backbone osnet_x0_25 \\
  --weights osnet_x0_25_msmt17.pth
python tools/label_errors.py --data_dir mine/pytorch --from osnet_msmt17 --split gallery --least 0.8
python tools/label_errors.py --data_dir mine/pytorch --from osnet_msmt17 --accept_above 0.95
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.label_errors import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
