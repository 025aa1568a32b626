# PYTHON_ARGCOMPLETE_OK
"""Search people by picture: index folders of crops once, then query as often as you like.

python tools/search.py index crops --index people.index --name ft_ResNet50
python tools/search.py index more_crops --index people.index  # add to it, with the same network
python tools/search.py query someone.jpg --index people.index --save found.png
python tools/search.py enroll Anna anna1.jpg anna2.jpg --index people.index
python tools/search.py identify someone.jpg --index people.index --threshold 0.8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.search import main

if __name__ == "__main__":
    run_script(main)
