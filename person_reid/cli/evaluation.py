"""Flags, reading and printing shared by evaluate.py, evaluate_gpu.py and evaluate_rerank.py."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from person_reid.basics import UserError, counted, printable, write_csv, write_json
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.values import file_ending_in
from person_reid.retrieval.metrics import (
    AVERAGE_PRECISIONS,
    Metrics,
    evaluate,
    have_images,
    merge_multi_query,
    remark_unmatched,
)
from person_reid.retrieval.results import (
    QUERY_DIGEST,
    RESULT,
    FeatureSet,
    load_multi_query,
    load_result,
    multi_query_file,
    read_note,
)
from person_reid.retrieval.similarity import DISTANCES, Scores, unit_rows
from person_reid.retrieval.single_shot import evaluate_single_shot

if TYPE_CHECKING:
    import torch

    from person_reid.distributed import World

log = logging.getLogger(__name__)
WORST = 5  # queries printed by --save_per_query


def evaluation_parser(
    text: str | None, multi_query: str = "default: what test.py --multi wrote beside --result", reranks: bool = False
) -> Parser:
    """Return a parser with the flags that every evaluation understands.

    text: the docstring of the script. multi_query: the help of that flag. reranks: whether it re-ranks, by cosines.
    """
    parser = Parser(text)
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument("--multi_query", type=Path, metavar="FILE", help=multi_query)
    parser.add_argument("--ap", default="trapezoidal", choices=AVERAGE_PRECISIONS, help="kind of average precision")
    parser.add_argument("--ignore_cameras", action="store_true", help="count matches from the query's own camera, too")
    parser.set_defaults(distance="cosine", single_shot=False)
    if not reranks:
        parser.add_argument("--distance", choices=DISTANCES, help="use euclidean after test.py --no_norm")
        parser.add_argument(
            "--single_shot", action="store_true", help="CUHK03's protocol: one random image per identity"
        )
    parser.add_argument("--json", type=file_ending_in(".json"), metavar="FILE", help="write the figures to a file, too")
    table = file_ending_in(".csv")
    parser.add_argument("--save_per_query", type=table, metavar="FILE", help="AP, INP and first match of each query")
    return parser


def run_evaluation(
    args: Namespace,
    device: torch.device | None = None,
    world: World | None = None,
    rescore: Callable[..., Scores] | None = None,
    prefix: str = "",
) -> None:
    """Evaluate as the flags of evaluation_parser ask, and print the figures.

    device: an accelerator, or None for NumPy.
    world: the processes that share the queries, see metrics.evaluate; only rank 0 prints.
    rescore: (query features, gallery features, device) → the scores to rank by instead of cosines.
    prefix: of every line.
    """
    if args.single_shot and (args.save_per_query or world or args.distance != "cosine"):
        raise UserError("--single_shot does not work with --save_per_query, torchrun or --distance euclidean.")
    check_outputs(args, [multi_query_file(args.result)], json=[args.json], save_per_query=[args.save_per_query])
    query, gallery = load_result(args.result, paths=args.save_per_query is not None)
    quiet = world is not None and world.rank > 0
    if not quiet:
        if args.distance == "cosine" and not rescore and unit_rows(query.features) is not query.features:
            hint = "" if args.single_shot else "; --distance euclidean ranks by distance"
            log.info("The features are not of unit length. These are cosines%s.", hint)
        print(f"{len(query)} queries, {len(gallery)} gallery images, {args.ap} average precision", file=sys.stderr)
    remarks = {
        "Euclidean distance": args.distance == "euclidean",
        "cameras ignored": args.ignore_cameras,
        "single gallery shot": args.single_shot,
    }
    remark = ", ".join(text for text, applies in remarks.items() if applies)

    def measure(images: FeatureSet, name: str) -> Metrics:
        if args.single_shot:
            metrics = evaluate_single_shot(images, gallery, args.ap, args.ignore_cameras)
        else:
            scores = (rescore or DISTANCES[args.distance])(images.features, gallery.features, device)
            metrics = evaluate(images, gallery, args.ap, scores, args.ignore_cameras, world)
        if not quiet:
            print(metrics.line(name + prefix) + (f" ({remark})" if remark else ""))
        return metrics

    remark_unmatched(query, gallery, args.ignore_cameras)
    merged = read_multi_query(args, query, by_default=rescore is None)  # before minutes of ranking
    metrics = measure(query, "")
    figures = {prefix.strip() or "single": metrics.figures()}
    if args.save_per_query and not quiet:
        save_per_query(args.save_per_query, query, metrics)
    if merged is not None:
        figures[f"multi {prefix}".strip()] = measure(merged, "multi ").figures()
    if args.json and not quiet:
        write_json(args.json, figures)


def read_multi_query(args: Namespace, query: FeatureSet, by_default: bool) -> FeatureSet | None:
    """Return the queries with their multiple-query features, or None if there are none.

    by_default: also read the file beside --result, not only one that --multi_query names. One that belongs to other
        queries, because another network was tested since or it shows other people, is passed over with a remark.

    Raises UserError if --multi_query names such a file, or none.
    """
    path = args.multi_query or multi_query_file(args.result)
    if args.multi_query is None and not (by_default and path.exists()):
        return None
    if not path.is_file():
        raise UserError(f"--multi_query {path}: not a file. Write it first: python test.py --name NAME --multi")
    written_for = read_note(path, QUERY_DIGEST)
    images = load_multi_query(path) if written_for in ("", query.digest()) else None
    without = 0 if images is None else np.count_nonzero(~have_images(query, images))
    widths = [found.features.shape[1] for found in (images, query) if found is not None]
    if images is None:
        problem = f"belongs to other features than those of {args.result}"
    elif widths[0] != widths[1]:
        problem = f"has features of {widths[0]} dimensions; those of {args.result} have {widths[1]}"
    elif without == len(query):
        problem = f"has no image of any query of {args.result} in the query's camera"
    elif without and not written_for and not args.multi_query:  # the published file says nothing
        problem = f"lacks {without} of {len(query)} queries, so it may show other people"
    else:
        return merge_images(query, images, path)
    if args.multi_query:
        raise UserError(f"{path}: {problem}. Write both with test.py --multi.")
    log.warning("%s: %s. It is left out. Write both with test.py --multi.", path, problem)
    return None


def merge_images(query: FeatureSet, images: FeatureSet, source: Path) -> FeatureSet | None:
    """Return the queries with the mean features of their images, or None if no query has any.

    A line of the log says so, or counts the queries without. source: the file or folder of the
    images. evaluate.py, evaluate_gpu.py, evaluate_rerank.py, report.py and test.py call it.
    """
    without = np.count_nonzero(~have_images(query, images))
    if without == len(query):
        log.warning("%s: no image of any query in its camera, so no multiple query.", source)
        return None
    if without:
        asked = counted(len(query), "query", "queries")
        log.warning("%s: %d of %s have no image there and keep their own feature.", source, without, asked)
    return merge_multi_query(query, images)


def save_per_query(path: Path, query: FeatureSet, metrics: Metrics) -> None:
    """Write a CSV file with one line per query and print the worst ones. first_match counts from 1, empty for none."""
    names = [printable(path) for path in query.paths or [""] * len(query)]
    columns = (query.labels, query.cameras, metrics.average_precision, metrics.inverse_negative_penalty)
    first_match = metrics.first_match + 1  # 0 without a match
    rows = (
        (i, names[i], label, camera, f"{precision:.6f}", f"{penalty:.6f}", first_match[i] or "")
        for i, (label, camera, precision, penalty) in enumerate(zip(*columns, strict=True))
    )
    write_csv(path, ("query", "path", "identity", "camera", "AP", "INP", "first_match"), rows)
    print(f"{path}: {len(query)} queries, the worst of them:")
    for i in np.argsort(metrics.average_precision, kind="stable")[:WORST]:
        rank = first_match[i] or "none"
        print(f"  query {i} {names[i]} AP {metrics.average_precision[i]:.4f}, first match at rank {rank}")
