"""train.py on several devices, or on several machines: one process a device, started by torchrun.

    bash DDP.sh --train_all --bf16                                              # every GPU of this machine
    torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
    torchrun --standalone --nproc_per_node 2 train_DDP.py --gpu_ids -1          # two processes on the CPU
    NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all           # on the first of two machines
    python -m torch.distributed.launch --nproc_per_node=2 train_DDP.py          # the launcher before torchrun

The flags are those of train.py. --batchsize is the share of one process: two processes with 16 train the network that
one trains with 32. A process that torchrun starts again (--max_restarts) goes on after the last finished epoch.
"""

import argparse

from person_reid.basics import UserError
from person_reid.cli.options import parse_train
from person_reid.cli.specs import train_spec
from person_reid.distributed import join_world
from person_reid.training.run import run_training


def main(argv=None):
    options = parse_train(without_local_rank(argv), __doc__)
    if options.dry_run:
        raise UserError("--dry_run needs no processes: python train.py --dry_run with the same flags.")
    with join_world(options.gpu_ids) as world:
        run_training(train_spec(options), world)


def without_local_rank(words):
    """The words of the command line but --local-rank, which torch.distributed.launch adds to what it also says in the
    environment."""
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    launcher.add_argument("--local-rank", "--local_rank")
    return launcher.parse_known_args(words)[1]
