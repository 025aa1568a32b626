"""evaluate.py on an accelerator, if there is one. Under torchrun the queries are shared out over the processes.

    python evaluate_gpu.py
    torchrun --nproc_per_node 2 evaluate_gpu.py

Prints a line for single queries and, where multi_query.mat is there, one for multiple queries.
"""

from person_reid.cli.evaluation import evaluation_parser, run_evaluation
from person_reid.distributed import join_world


def main(argv=None):
    parser = evaluation_parser(__doc__)
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    args = parser.parse_args(argv)
    with join_world(args.gpu_ids) as world:
        run_evaluation(args, world.device(args.gpu_ids), world if world.size > 1 else None)
