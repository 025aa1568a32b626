# PYTHON_ARGCOMPLETE_OK
"""Compute what evaluate.py computes, on an accelerator if there is one. Under torchrun, processes share the queries.

python evaluate_gpu.py
torchrun --nproc_per_node 2 evaluate_gpu.py
"""

from person_reid.cli.evaluate_gpu import main
from person_reid.cli.main import run_script

if __name__ == "__main__":
    run_script(main)
