# PYTHON_ARGCOMPLETE_OK
"""Train on several devices or machines, with one process per device, started by torchrun.

    bash DDP.sh --train_all --bf16                                      # every GPU of this machine
    torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
    torchrun --standalone --nproc_per_node 2 train_DDP.py --gpu_ids -1  # two processes on the CPU
    NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all   # the first of two machines
    python -m torch.distributed.launch --nproc_per_node=2 train_DDP.py  # before torchrun

The flags are the same as for train.py, which does the work. --batchsize counts per process: two
processes with 16 images each train the same network as one process with 32. A process that torchrun
restarts (--max_restarts) continues from the last saved state.
"""

import runpy
from pathlib import Path

from person_reid.console import run_script, without_rank


def main(argv: list[str] | None = None) -> None:
    """Run train.py as one of the processes."""
    script = runpy.run_path(str(Path(__file__).with_name("train.py")))
    script["main"](without_rank(argv), __doc__)


if __name__ == "__main__":
    run_script(main)
