# PYTHON_ARGCOMPLETE_OK
"""Compare networks on test sets: Rank@1, mAP, time and size, as a table and a picture.

python tools/compare_networks.py --networks market osnet_market net.onnx \\
  --test_dirs ../Market/pytorch
python tools/compare_networks.py --networks osnet_x0_25=osnet.pth "reid.xml --bgr \\
  --range 0..255" --test_dirs a b \
    --save networks.png --json networks.json

A network is the name of a run, a folder of tools/save_pretrained.py, an exported file, or
BACKBONE=FILE for a weight file. Further flags of test.py may follow it, in quotes. The time is for
one view of an image on the CPU, without decoding; set OMP_NUM_THREADS=1 to measure one core.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.compare_networks import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
