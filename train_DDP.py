# PYTHON_ARGCOMPLETE_OK
"""Train on several devices or machines, with one process per device, started by torchrun.

bash DDP.sh --train_all --bf16                                              # every GPU of this machine
torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
torchrun --standalone --nproc_per_node 2 train_DDP.py --gpu_ids -1          # two processes on the CPU
"""

from person_reid.cli.main import run_script
from person_reid.cli.train_ddp import main

if __name__ == "__main__":
    run_script(main)
