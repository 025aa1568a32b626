# PYTHON_ARGCOMPLETE_OK
"""Show rankings: a query and the gallery images nearest to it, green for the right person, red for a wrong one.

python demo.py --query_index 777
python demo.py --query_index 777 --result market.mat --test_dir ../Market/pytorch --save ranking.pdf --top 20
python demo.py --query_index 3,7,12                              # several, one below the other; 0-5 is a range
"""

from person_reid.cli.demo import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
