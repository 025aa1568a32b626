# PYTHON_ARGCOMPLETE_OK
"""evaluate.py on an accelerator, if there is one. Under torchrun the queries are shared out over the processes.

python evaluate_gpu.py
torchrun --nproc_per_node 2 evaluate_gpu.py
"""

from person_reid.cli.evaluate_gpu import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
