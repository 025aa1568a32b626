# PYTHON_ARGCOMPLETE_OK
"""Write a network to a folder that explains itself: weights, configuration, and a card with its
accuracy.

python tools/save_pretrained.py --name ft_ResNet50 --output resnet50_market
python tools/save_pretrained.py --name market --output osnet_market \\
  --test_dirs ../Market/pytorch ../MSMT17/pytorch
python test.py --from osnet_market --test_dir ../MSMT17/pytorch  # the network of the folder

The folder holds model.safetensors, config.json and README.md. Embedder.from_pretrained reads it,
and train.py --weights starts from it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.save_pretrained import main

if __name__ == "__main__":
    run_script(main)
