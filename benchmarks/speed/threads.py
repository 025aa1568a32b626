# PYTHON_ARGCOMPLETE_OK
"""Measure evaluation and re-ranking on the processor by the number of threads.

The threads take chunks of the queries.

    python benchmarks/speed/threads.py  # made-up features of Market-1501's size
    python benchmarks/speed/threads.py --result pytorch_result.mat --threads 2 4 8

Features are in memory. Prints rows of a Markdown table: milliseconds, the fastest of --runs, and
how often the process gave up a core of its own accord, which it does to wait for a lock. More
threads than the library takes show whether they would pay.
"""

import logging
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import best, machine, result_files
from benchmarks.support.parser import Parser
from person_reid.config.evaluate import RerankOptions
from person_reid.console import run_script
from person_reid.retrieval import similarity
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import load_result


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="numbers of threads"
    )
    parser.add_argument("--result", type=Path, help="measure this file instead of made-up features")
    parser.add_argument("--runs", type=int, default=3, help="the fastest counts")
    options = parser.parse_args(argv)
    options.sizes = ["market"]
    logging.getLogger("person_reid").setLevel(logging.ERROR)
    print(
        machine(),
        "| threads | evaluate | waits | k-reciprocal | waits | graph | waits |",
        sep="\n\n",
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        query, gallery = load_result(next(result_files(options, folder)))
        for threads in options.threads:
            cells = [str(threads)]
            with patch.multiple(
                similarity, MOST_THREADS=threads, available_cores=lambda n=threads: n
            ):
                for method in (None, "k-reciprocal", "gnn"):
                    seconds, waits = timed(partial(ranked, method, query, gallery), options.runs)
                    cells += [f"{1e3 * seconds:.0f} ms", str(waits)]
            print(f"| {' | '.join(cells)} |", flush=True)


def ranked(method, query, gallery):
    """Evaluate the features, re-ranked unless the method is None."""
    scores = (
        rescorer(RerankOptions(method=method))(query.features, gallery.features) if method else None
    )
    return evaluate(query, gallery, scores=scores)


def timed(work, runs):
    """Return the shortest time of work(), and how often the process waited in one run on average.

    Linux and macOS.
    """
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    seconds = best(work, runs)
    return seconds, round((resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / runs)


if __name__ == "__main__":
    run_script(main)
