# PYTHON_ARGCOMPLETE_OK
"""Compute Rank@1, Rank@5, Rank@10, mAP and mINP from the features that test.py wrote.

    python evaluate.py
    python evaluate.py --result market.mat --ap step --ranks 1,5,10,20
    python evaluate.py --save_per_query queries.csv
    python evaluate.py --by cameras                       # a table for each pair of cameras
    python evaluate.py --scores similarities.npy          # your own matrix, queries × gallery
    python evaluate.py --bootstrap                        # with 95 % confidence intervals
    python evaluate.py --clothes                          # LTCC, PRCC
    python evaluate.py --gap 30                           # people in videos, 30 frames later

Prints one line for single queries and, if there is a multi_query.mat, one for multiple queries.
Needs no PyTorch: NumPy, SciPy, Pillow, PyYAML, lazy_loader, threadpoolctl and tqdm suffice.
"""

import logging
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import person_reid as reid
from person_reid.config.evaluate import (
    CONFIDENCE,
    EvaluateConfig,
    EvaluationOptions,
    RankingOptions,
)
from person_reid.config.forms import listed_numbers
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.data.own.labels import words_beside
from person_reid.files import write_json
from person_reid.retrieval.bootstrap import Interval, interval_line
from person_reid.retrieval.metric_tables import figure_rows, interval_rows, written_table
from person_reid.retrieval.protocols import by_protocol, ranking_options, scores_by
from person_reid.retrieval.results import FEATURE_FLAGS, read_note
from person_reid.retrieval.similarity import unit_rows
from person_reid.text import printable

if TYPE_CHECKING:
    import torch

log = logging.getLogger("person_reid.evaluate")
Rescore = Callable[..., Any]
"""(query features, gallery features, device) → scores."""


def main(argv: list[str] | None = None) -> None:
    """Evaluate on the CPU."""
    report(parse(EvaluateConfig, argv, __doc__))


def report(
    config: EvaluationOptions,
    device: "torch.device | None" = None,
    world: "reid.World | None" = None,
    rescore: Rescore | None = None,
) -> None:
    """Evaluate the features that test.py wrote, print the metrics and write files.

    evaluate_gpu.py and evaluate_rerank.py also call it.
    device: an accelerator, or None for NumPy. world: the processes that share the queries.
    rescore: re-ranks the gallery; see reid.rescorer.
    Raises UserError for several processes if the protocol cannot be shared.
    """
    ranked, leads = ranking_options(config), world is None or world.is_main
    if world and (ranked.single_shot or ranked.gap or config.by):
        raise reid.UserError(
            "single_shot, gap and by do not work with torchrun: start one process."
        )
    written = {"json": [config.json], "save_per_query": [config.save_per_query]}
    check_outputs(config, [reid.multi_query_file(config.result)], **written)

    # Read the features, and report what is unusual about them.
    named = bool(config.save_per_query or config.clothes or ranked.gap or config.by)
    query, gallery = reid.load_result(config.result, paths=named)
    if leads and not ranked.gap:
        describe(config, query, gallery)
    if not ranked.gap:
        reid.remark_unmatched(query, gallery, config.ignore_cameras)
    usual = not (config.ignore_cameras or ranked.gap or ranked.scores)
    if leads and usual and "camera_norm" not in read_note(config.result, FEATURE_FLAGS):
        reid.remark_own_camera(query, gallery)

    # Re-ranking takes minutes, so multiple queries are re-ranked only on request.
    asked = {"": query}
    wanted = config.multi_query or not (rescore or ranked.gap or ranked.scores)
    if wanted and (several := reid.read_multi_query(config.result, query, config.multi_query)):
        asked["multi "] = several

    # Measure each, and print its line.
    ranks = listed_numbers(config.ranks, int)
    measured: dict[str, reid.Metrics] = {}
    intervals: dict[str, dict[str, Interval]] = {}
    parts: dict[str, dict[str, reid.Metrics]] = {}
    reranked: Any = None
    with redirect_stdout(sys.stderr if config.for_files else sys.stdout):
        for kind, images in asked.items():
            scores = rescore(images.features, gallery.features, device) if rescore else None
            reranked = scores if images is query else reranked
            for protocol, metrics in by_protocol(config, images, gallery, scores, device, world):
                words = f"{kind}{'re-ranked ' if rescore else ''}{protocol}"
                name = words.strip() or "single"
                measured[name] = metrics
                if leads:
                    print(metrics.line(words, ranks))
                if (
                    leads
                    and config.bootstrap
                    and (ends := intervals_of(metrics, words, ranks, config.bootstrap))
                ):
                    intervals[name] = ends
        first = next(iter(measured.values()))
        if config.by == "identities":
            parts = {"identity": in_words("identity", reid.by_identity(query, first), query)}
        if config.by == "cameras":
            how = reranked or scores_by(config, query, gallery, device)
            found = reid.by_cameras(query, gallery, config.ap, how, config.ignore_cameras)
            parts = {"cameras": in_words("camera", found, query)}
        if leads and config.save_per_query:
            print(reid.save_per_query(config.save_per_query, query, first))

    # Write the metrics, each with its protocol.
    if leads:
        show(config, measured, intervals, parts, ranks)


def in_words(
    kind: str, parts: dict[str, reid.Metrics], query: reid.FeatureSet
) -> dict[str, reid.Metrics]:
    """Return parts such as {"1-2": …}, named with the layout's words instead of numbers."""
    words = words_beside(query.paths[0]).table.get(kind, {}) if query.paths else {}
    numbers = {str(number): printable(word) for number, word in words.items()}
    return {
        "-".join(numbers.get(each, each) for each in re.split(r"(?<=\d)-", name)): found
        for name, found in parts.items()
    }


def intervals_of(
    metrics: reid.Metrics, words: str, ranks: list[int], draws: int
) -> dict[str, Interval]:
    """Print and return the confidence intervals of the metrics, or log why there are none."""
    try:
        found = reid.confidence_intervals(metrics, ranks, draws)
    except reid.UserError as error:  # the other protocols may have more identities
        log.warning("%s%s", words, error)
        return {}
    print(interval_line(metrics, found, words))
    return found


def show(
    config: EvaluationOptions,
    measured: dict[str, reid.Metrics],
    intervals: dict[str, dict[str, Interval]],
    parts: dict[str, dict[str, reid.Metrics]],
    ranks: list[int],
) -> None:
    """Print the requested tables, and write the JSON file."""
    if config.for_files:
        head, rows = figure_rows(measured, ranks)
        print(written_table(head, rows + interval_rows(intervals), config))
    for name, figures in parts.items():
        head, rows = figure_rows(figures, ranks)
        print(written_table([name, *head[1:]], rows, config))
    if config.json:
        found = {name: metrics.figures(ranks) for name, metrics in measured.items()}
        for name, ends in intervals.items():
            drawn = {"draws": config.bootstrap, "identities": len(set(measured[name].identities))}
            found[name]["intervals"] = {"confidence": CONFIDENCE, **drawn, **ends}
        for name, figures in parts.items():
            found[f"by {name}"] = {part: each.figures(ranks) for part, each in figures.items()}
        write_json(config.json, found)


def describe(config: EvaluationOptions, query: reid.FeatureSet, gallery: reid.FeatureSet) -> None:
    """Print the number of images, and whether the features had to be normalised."""
    by_cosine = (
        isinstance(config, RankingOptions) and config.distance == "cosine" and not config.scores
    )
    if by_cosine and unit_rows(query.features) is not query.features:
        hint = "--distance euclidean ranks by distance"
        print(
            f"The features are not of unit length. These are cosines; {hint}.",
            file=sys.stderr if config.for_files else sys.stdout,
        )
    counts = f"{len(query)} queries, {len(gallery)} gallery images"
    print(f"{counts}, {config.ap} average precision", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
