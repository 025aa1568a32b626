"""evaluate.py on an accelerator, if there is one. Under torchrun the queries are shared out over the processes.

python evaluate_gpu.py
torchrun --nproc_per_node 2 evaluate_gpu.py
"""

from reid.retrieval.command import evaluation_parser, run_evaluation
from reid.retrieval.workers import torchrun_workers
from utils import run_script, select_device


def main(argv=None):
    """Print the single-query line and, where multi_query.mat is there, the multiple-query line."""
    parser = evaluation_parser(__doc__)
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    args = parser.parse_args(argv)
    with torchrun_workers() as workers:
        gpu_ids = workers.local_rank if workers and args.gpu_ids != "-1" else args.gpu_ids
        run_evaluation(args, select_device(gpu_ids), workers)


if __name__ == "__main__":
    run_script(main)
