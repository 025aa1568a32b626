"""Compute what evaluate.py computes, on an accelerator if there is one. Under torchrun, processes share the queries.

    python evaluate_gpu.py
    torchrun --nproc_per_node 2 evaluate_gpu.py

Prints one line for single queries and, if there is a multi_query.mat, one for multiple queries.
"""

from person_reid.cli.evaluation import evaluation_parser, run_evaluation
from person_reid.distributed import join_world


def main(argv: list[str] | None = None) -> None:
    """Evaluate on the device that --gpu_ids names."""
    parser = evaluation_parser(__doc__)
    parser.add_argument("--gpu_ids", default="0", help="GPU to use; -1 for the CPU")
    args = parser.parse_args(argv)
    with join_world(args.gpu_ids) as world:
        run_evaluation(args, world.device(args.gpu_ids), world if world.size > 1 else None)
