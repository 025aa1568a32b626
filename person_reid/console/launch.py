"""Start a script in several processes, as torchrun does, but without torchrun's traceback.

python -m person_reid.console.launch --standalone --nproc_per_node 2 train_DDP.py --gpu_ids -1
"""

import sys

from person_reid.console import run_script
from person_reid.distributed import run_processes

if __name__ == "__main__":
    run_script(lambda: run_processes(sys.argv[1:]))
