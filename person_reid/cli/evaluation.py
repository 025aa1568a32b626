"""What evaluate.py, evaluate_gpu.py and evaluate_rerank.py share: flags, reading, printing."""

import csv
import json
import sys
from pathlib import Path

import numpy as np

from person_reid.basics import UserError, atomic_write
from person_reid.cli.parser import Parser
from person_reid.retrieval.metrics import AVERAGE_PRECISIONS, evaluate, merge_multi_query
from person_reid.retrieval.results import RESULT, load_multi_query, load_result, multi_query_file
from person_reid.retrieval.similarity import DISTANCES
from person_reid.retrieval.single_shot import evaluate_single_shot

WORST = 5  # queries listed beside --save_per_query


def evaluation_parser(text):
    """The parser of a script with this docstring, with the flags that every evaluation understands."""
    parser = Parser(text)
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument("--multi_query", type=Path, help="default: what test.py --multi wrote beside --result")
    parser.add_argument("--ap", default="trapezoidal", choices=AVERAGE_PRECISIONS, help="which average precision")
    parser.add_argument(
        "--distance", default="cosine", choices=DISTANCES, help="euclidean: of features that test.py --no_norm wrote"
    )
    parser.add_argument("--ignore_cameras", action="store_true", help="also the query's own camera holds matches")
    parser.add_argument("--single_shot", action="store_true", help="CUHK03's protocol: one random image an identity")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--save_per_query", type=Path, metavar="FILE.csv", help="AP, INP, first match of each")
    return parser


def run_evaluation(args, device=None, workers=None, rescore=None, prefix=""):
    """Do what the flags of evaluation_parser ask for and print it.

    device: an accelerator, or None for NumPy; workers: see metrics.evaluate, whose rank 0 alone prints;
    rescore(query features, gallery features): the scores to rank by in place of cosines; prefix: of every line.
    """
    if args.single_shot and (args.save_per_query or workers or rescore):
        raise UserError("--single_shot goes with neither --save_per_query, torchrun nor re-ranking.")
    if args.distance != "cosine" and (args.single_shot or rescore):
        raise UserError(f"--distance {args.distance} goes with neither --single_shot nor re-ranking: they use cosines.")
    query, gallery = load_result(args.result, paths=args.save_per_query is not None)
    quiet = workers is not None and workers.rank > 0
    if not quiet:
        print(f"{len(query)} queries, {len(gallery)} gallery images, {args.ap} average precision", file=sys.stderr)

    def measure(images, name):
        if args.single_shot:
            metrics = evaluate_single_shot(images, gallery, args.ap, args.ignore_cameras)
        else:
            scores = (rescore or DISTANCES[args.distance])(images.features, gallery.features, device)
            metrics = evaluate(images, gallery, args.ap, scores, args.ignore_cameras, workers)
        remarks = ["Euclidean distance"] * (args.distance == "euclidean")
        remarks += ["cameras ignored"] * args.ignore_cameras + ["single gallery shot"] * args.single_shot
        if not quiet:
            print(metrics.line(name + prefix) + (f" ({', '.join(remarks)})" if remarks else ""))
        return metrics

    metrics = measure(query, "")
    figures = {prefix.strip() or "single": metrics.figures()}
    if args.save_per_query and not quiet:
        save_per_query(args.save_per_query, query, metrics)
    merged = read_multi_query(args, query, by_default=rescore is None)
    if merged is not None:
        figures[f"multi {prefix}".strip()] = measure(merged, "multi ").figures()
    if args.json and not quiet:
        write_json(args.json, figures)


def read_multi_query(args, query, by_default):
    """The queries with their multiple-query features; None where there are none, or only some that nobody named."""
    path = args.multi_query or multi_query_file(args.result)
    if args.multi_query is None and not (by_default and path.exists()):
        return None
    return merge_multi_query(query, load_multi_query(path))


def write_json(path, figures):
    """Write {ranking: {figure: value in [0, 1]}} to a JSON file."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def save_per_query(path, query, metrics):
    """Write one line a query (first_match counted from 1, empty where there is none) and print the worst."""
    names = query.paths or [""] * len(query)
    columns = (query.labels, query.cameras, metrics.average_precision, metrics.inverse_negative_penalty)
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["query", "path", "identity", "camera", "AP", "INP", "first_match"])
        for i, (label, camera, precision, penalty) in enumerate(zip(*columns, strict=True)):
            first = int(metrics.first_match[i]) + 1 or ""
            table.writerow([i, names[i], label, camera, f"{precision:.6f}", f"{penalty:.6f}", first])
    print(f"{path}: {len(query)} queries, the worst of them:")
    for i in np.argsort(metrics.average_precision, kind="stable")[:WORST]:
        first = metrics.first_match[i] + 1 or "none"
        print(f"  query {i} {names[i]} AP {metrics.average_precision[i]:.4f}, first match at rank {first}")
