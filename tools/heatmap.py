# PYTHON_ARGCOMPLETE_OK
"""Draw where a network looks: the energy of its last feature map over a query and its ranking, or
over any images.

python tools/heatmap.py --name ft_ResNet50 --query_index 777
python tools/heatmap.py --name ft_ResNet50 --query_index 0-5
python tools/heatmap.py --name ft_ResNet50 --query_index 777 --top 8 --result market.mat \\
  --test_dir data
python tools/heatmap.py --backbone osnet_x0_25 --weights osnet.pth a.jpg b.jpg --save heatmap.pdf
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.heatmap import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
