"""What evaluate.py, evaluate_gpu.py and evaluate_rerank.py share: flags, reading, printing."""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from reid.retrieval.metrics import AVERAGE_PRECISIONS, evaluate, merge_multi_query
from reid.retrieval.results import load_multi_query, load_result
from utils import atomic_write

WORST = 5  # queries listed beside --save_per_query


def evaluation_parser(description):
    """An argparse parser with the flags that every evaluation understands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=Path("pytorch_result.mat"), help="features written by test.py")
    parser.add_argument("--ap", default="trapezoidal", choices=AVERAGE_PRECISIONS, help="which average precision")
    parser.add_argument("--ignore_cameras", action="store_true", help="also the query's own camera holds matches")
    parser.add_argument("--save_per_query", type=Path, metavar="FILE.csv", help="AP, INP, first match of each")
    return parser


def add_multi_query(parser):
    """Add the flag that names the multiple-query features."""
    parser.add_argument("--multi_query", type=Path, help="default: multi_query.mat beside the result, if it is there")


def read_result(args):
    """(query, gallery) that the flags name; the images' names too where a table of queries is asked for."""
    return load_result(args.result, paths=args.save_per_query is not None)


def read_multi_query(args, query):
    """The queries with their multiple-query features, or None where there is no multi_query.mat."""
    path = args.multi_query or args.result.with_name("multi_query.mat")
    if args.multi_query is None and not path.exists():
        return None
    return merge_multi_query(query, load_multi_query(path))


def measure(args, query, gallery, **options):
    """metrics.evaluate with the flags of the command line."""
    return evaluate(query, gallery, args.ap, ignore_cameras=args.ignore_cameras, **options)


def report(args, metrics, prefix=""):
    """Print the line of results, and what it is of where that is not the usual."""
    print(metrics.line(prefix) + (" (cameras ignored)" if args.ignore_cameras else ""))


def announce(args, query, gallery):
    """Say on stderr what is measured, so that stdout holds results alone."""
    print(f"{len(query)} queries, {len(gallery)} gallery images, {args.ap} average precision", file=sys.stderr)


def save_per_query(args, query, metrics):
    """Write one line a query to --save_per_query, if it is given, and list the worst."""
    if args.save_per_query is None:
        return
    names = query.paths or [""] * len(query)
    columns = (query.labels, query.cameras, metrics.average_precision, metrics.inverse_negative_penalty)
    with atomic_write(args.save_per_query) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["query", "path", "identity", "camera", "AP", "INP", "first_match"])
        for i, (label, camera, precision, penalty) in enumerate(zip(*columns, strict=True)):
            first = int(metrics.first_match[i]) + 1 or ""  # counted from 1; empty where nothing matches
            table.writerow([i, names[i], label, camera, f"{precision:.6f}", f"{penalty:.6f}", first])
    print(f"{args.save_per_query}: {len(query)} queries. The worst:")
    for i in np.argsort(metrics.average_precision, kind="stable")[:WORST]:
        first = metrics.first_match[i] + 1 or "none"
        print(f"  query {i} {names[i]} AP {metrics.average_precision[i]:.4f}, first match at rank {first}")
