# PYTHON_ARGCOMPLETE_OK
"""Write an explorer of a result: a folder whose index.html opens in any browser, offline.

python tools/explore.py --result pytorch_result.mat --save look
python tools/explore.py --save look.html                       # one file, for small sets
python tools/explore.py --rerank                               # before and after re-ranking
python tools/explore.py --result resnet.mat --other osnet.mat  # two networks, same images
python tools/explore.py --label_errors label_errors.csv        # decide about doubtful labels
python tools/explore.py --index people.index                   # a search index of tools/search.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.explore import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
