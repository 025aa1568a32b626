# PYTHON_ARGCOMPLETE_OK
"""Write a trained network to one file that runs without this code: ONNX, TorchScript or
torch.export.

python tools/export.py --name ft_ResNet50 --output reid.onnx
python tools/export.py --backbone osnet_x0_25 --weights osnet.pth --output osnet.onnx \\
  --normalise_input --flip --l2
python tools/export.py --name ft_ResNet50 --output small.onnx --int8 --test_dir ../Market/pytorch
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.export import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
