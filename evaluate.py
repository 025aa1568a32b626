# PYTHON_ARGCOMPLETE_OK
"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP of the features that test.py wrote.

    python evaluate.py
    python evaluate.py --result market.mat --ap step
    python evaluate.py --save_per_query queries.csv
    python evaluate.py --clothes                          # LTCC, PRCC
    python evaluate.py --gap 30                           # people of videos, 30 frames later

Prints one line for single queries and, if there is a multi_query.mat, one for multiple queries.
Needs no PyTorch: NumPy, SciPy, threadpoolctl and tqdm suffice.
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import person_reid as reid
from person_reid.config.evaluate import EvaluateConfig, EvaluationOptions, RankingOptions
from person_reid.console import command, parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.errors import UserError
from person_reid.files import write_json
from person_reid.retrieval.metrics import Metrics, remark_unmatched
from person_reid.retrieval.multi_query import read_multi_query
from person_reid.retrieval.protocols import by_protocol, protocol, ranking_options
from person_reid.retrieval.reassociation import evaluate_reassociation
from person_reid.retrieval.results import FeatureSet, multi_query_file
from person_reid.retrieval.similarity import DISTANCES, unit_rows
from person_reid.retrieval.single_shot import evaluate_single_shot
from person_reid.retrieval.tables import figure_rows, save_per_query, table

if TYPE_CHECKING:
    import torch

Measure = Callable[[FeatureSet, FeatureSet], dict[str, Metrics]]
"""(query, gallery) → {protocol: the figures of a ranking}."""


def main(argv: list[str] | None = None) -> None:
    """Evaluate on the CPU."""
    config = parse(EvaluateConfig, argv, __doc__)
    report(config, ranking(config))


def ranking(
    config: EvaluateConfig,
    device: "torch.device | None" = None,
    world: "reid.World | None" = None,
) -> Measure:
    """Return the function that ranks the gallery as the configuration says.

    device: an accelerator, or None for NumPy. world: the processes that share the queries.
    Raises UserError for several processes if the protocol has nothing to share.
    """
    if world and (config.single_shot or config.gap):
        raise UserError("--single_shot and --gap do not work with torchrun: start one process.")

    def measure(query: FeatureSet, gallery: FeatureSet) -> dict[str, Metrics]:
        if config.single_shot:
            return {"": evaluate_single_shot(query, gallery, config.ap, config.ignore_cameras)}
        if config.gap:
            how = (config.gap, config.query_stride, config.distance, device)
            return {"re-associated ": evaluate_reassociation(query, gallery, *how)}
        scores = DISTANCES[config.distance](query.features, gallery.features, device)
        return by_protocol(config, query, gallery, scores, world)

    return measure


@command
def report(
    config: EvaluationOptions,
    measure: Measure,
    prefix: str = "",
    leads: bool = True,
) -> None:
    """Measure the rankings of the features that test.py wrote, print the figures and write files.

    evaluate_gpu.py and evaluate_rerank.py call it with a `measure` of their own.
    prefix: what begins every line. leads: whether this process prints and writes.
    """
    with redirect_stdout(sys.stderr if config.for_files else sys.stdout):
        measured = figures(config, measure, prefix, leads)
    if config.for_files and leads:
        print(table(*figure_rows(measured), config))


def figures(
    config: EvaluationOptions, measure: Measure, prefix: str, leads: bool
) -> dict[str, Metrics]:
    """Print and write the figures as `report` does; return {queries: their Metrics}."""
    written = {"json": [config.json], "save_per_query": [config.save_per_query]}
    check_outputs(config, [multi_query_file(config.result)], **written)
    gap = ranking_options(config).gap
    named = bool(config.save_per_query or config.clothes or gap)
    query, gallery = reid.load_result(config.result, paths=named)
    if leads and not gap:
        describe(config, query, gallery)
    if not gap:
        remark_unmatched(query, gallery, config.ignore_cameras)
    asked = {"": query}
    # re-ranking takes minutes, so only on request
    wanted = config.multi_query or not (prefix or gap)
    if wanted and (several := read_multi_query(config.result, query, config.multi_query)):
        asked["multi "] = several

    found, remark = {}, protocol(config)
    for kind, images in asked.items():
        measured = measure(images, gallery)
        for name, metrics in measured.items():
            words = f"{kind}{prefix}{name}"
            found[words.strip() or "single"] = metrics
            if leads:
                print(metrics.line(words) + (f" ({remark})" if remark else ""))
        if leads and config.save_per_query and images is query:
            print(save_per_query(config.save_per_query, query, next(iter(measured.values()))))
    if leads and config.json:
        write_json(config.json, {name: metrics.figures() for name, metrics in found.items()})
    return found


def describe(config: EvaluationOptions, query: FeatureSet, gallery: FeatureSet) -> None:
    """Print how many images there are, and that the features are normalized if they were not."""
    by_cosine = isinstance(config, RankingOptions) and config.distance == "cosine"
    if by_cosine and unit_rows(query.features) is not query.features:
        hint = "--distance euclidean ranks by distance"
        print(f"The features are not of unit length. These are cosines; {hint}.")
    counts = f"{len(query)} queries, {len(gallery)} gallery images"
    print(f"{counts}, {config.ap} average precision", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
