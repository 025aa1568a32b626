"""Train on several devices or machines, with one process per device, started by torchrun.

    bash DDP.sh --train_all --bf16                                              # every GPU of this machine
    torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
    torchrun --standalone --nproc_per_node 2 train_DDP.py --gpu_ids -1          # two processes on the CPU
    NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all           # on the first of two machines
    python -m torch.distributed.launch --nproc_per_node=2 train_DDP.py          # the predecessor of torchrun

The flags are those of train.py. --batchsize counts per process: two processes with 16 train the same network as one
with 32. A process that torchrun restarts (--max_restarts) continues after the last finished epoch.
"""

import argparse

from person_reid.basics import UserError
from person_reid.cli.options import parse_train
from person_reid.cli.specs import train_spec
from person_reid.cli.train import teacher_of
from person_reid.distributed import join_world
from person_reid.training.run import run_training


def main(argv: list[str] | None = None) -> None:
    """Train as one of the processes."""
    # torch.distributed.launch passes --local-rank, which the environment holds, too.
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    launcher.add_argument("--local-rank", "--local_rank")
    options = parse_train(launcher.parse_known_args(argv)[1], __doc__)
    if options.dry_run:
        raise UserError("--dry_run needs no processes: python train.py --dry_run with the same flags.")
    with join_world(options.gpu_ids) as world:
        run_training(train_spec(options, teacher=teacher_of(options)), world)
