"""evaluate.py on an accelerator, if there is one. Under torchrun the queries are shared out over the processes.

python evaluate_gpu.py
torchrun --nproc_per_node 2 evaluate_gpu.py
"""

from reid.retrieval.command import (
    add_multi_query,
    announce,
    evaluation_parser,
    measure,
    read_multi_query,
    read_result,
    report,
    save_per_query,
)
from reid.retrieval.similarity import CosineScores
from utils import run_script, select_device


def main(argv=None):
    """Print the single-query line and, where multi_query.mat is there, the multiple-query line."""
    parser = evaluation_parser(__doc__)
    add_multi_query(parser)
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    args = parser.parse_args(argv)
    device = select_device(args.gpu_ids)
    query, gallery = read_result(args)
    announce(args, query, gallery)
    metrics = measure(args, query, gallery, scores=CosineScores(query.features, gallery.features, device))
    report(args, metrics)
    save_per_query(args, query, metrics)
    merged = read_multi_query(args, query)
    if merged is not None:
        scores = CosineScores(merged.features, gallery.features, device)
        report(args, measure(args, merged, gallery, scores=scores), "multi ")


if __name__ == "__main__":
    run_script(main)
