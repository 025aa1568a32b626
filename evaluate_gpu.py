# PYTHON_ARGCOMPLETE_OK
"""Compute the same metrics as evaluate.py, on an accelerator if there is one.

    python evaluate_gpu.py
    torchrun --nproc_per_node 2 evaluate_gpu.py             # two processes share the queries

Prints one line for single queries and, if there is a multi_query.mat, one for multiple queries.
"""

import person_reid as reid
from evaluate import report
from person_reid.config.evaluate import EvaluateGpuConfig
from person_reid.console import parse, run_script


def main(argv: list[str] | None = None) -> None:
    """Evaluate on the device that --gpu_ids names."""
    config = parse(EvaluateGpuConfig, argv, __doc__)
    with reid.join_world(config.gpu_ids) as world:
        report(config, world.device(config.gpu_ids), world if world.size > 1 else None)


if __name__ == "__main__":
    run_script(main)
