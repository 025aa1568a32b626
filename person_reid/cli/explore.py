"""Write an explorer of a result: a folder whose index.html opens in any browser, offline.

    python tools/explore.py --result pytorch_result.mat --save look
    python tools/explore.py --save look.html                       # one file, for small sets
    python tools/explore.py --rerank                               # before and after re-ranking
    python tools/explore.py --result resnet.mat --other osnet.mat  # two networks, same images
    python tools/explore.py --label_errors label_errors.csv        # decide about doubtful labels
    python tools/explore.py --index people.index                   # an index of tools/search.py

It shows all queries, worst first, the ranking of any image, a map of the features, and what a
threshold accepts, rejects and gets wrong. The folder contains small copies of all photographs: pass
it on only if you may pass them on.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from person_reid.basics import UserError, printable, with_ending
from person_reid.cli.flags import add_rerank_flags, given_rerank_flags, rerank_options
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.values import output_path
from person_reid.data.layout import some_of
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.index import EXACT
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import (
    RESULT,
    FeatureSet,
    check_same_images,
    load_gallery,
    load_result,
)

if TYPE_CHECKING:  # matplotlib loads slowly
    from person_reid.show.explorer_images import Images
    from person_reid.show.explorer_rankings import Ranking


def main(argv: list[str] | None = None) -> None:
    """Rank, draw and write the folder."""
    options = parse(argv)
    from person_reid.show.explorer import check_save, describe_result, write_explorer
    from person_reid.show.explorer_images import UNKNOWN, images_of
    from person_reid.show.explorer_labels import describe_proposals
    from person_reid.show.explorer_page import is_one_file

    check_save(options.save)
    check_outputs(options, save=[options.save] if is_one_file(options.save) else [])
    rankings: list[Ranking] = []
    views: dict[str, Any] = {}
    if options.index:
        source, images = Path(options.index), images_in(options.index)
    elif options.label_errors and not options.result:
        source = features_beside(options.label_errors)
        images = images_of(None, load_gallery(source), options.test_dir)
    else:
        source = options.result = options.result or RESULT
        query, gallery = load_result(source, paths=True)
        images = images_of(query, gallery, options.test_dir)
    if options.ignore_cameras:
        images = replace(images, cameras=[UNKNOWN] * len(images.paths))
    if options.label_errors:
        views["labels"] = describe_proposals(images, options.label_errors)
    if options.result:  # last: re-ranking takes long, and the list may be at fault
        rankings = rank_all(options, query, gallery)
        views |= describe_result(query, gallery, rankings, options.ignore_cameras)
    missing = write_explorer(options.save, images, source.name, views, options.test_dir)
    count = len(images.paths)
    if missing:
        print(
            printable(
                f"{len(missing)} of {count} images cannot be read; their "
                f"tiles are grey:\n{some_of(missing)}"
            )
        )
    for ranking in rankings:
        print(printable(ranking.metrics.line("" if len(rankings) == 1 else f"{ranking.name} ")))
    page = options.save / "index.html" if options.save.is_dir() else options.save
    files = options.save.rglob("*") if options.save.is_dir() else [page]
    size = sum(path.stat().st_size for path in files if path.is_file())
    print(f"Open {page} in a browser ({size / 1e6:.1f} MB)")


def images_in(place: str) -> Images:
    """Return the images of a search index.

    Raises UserError if it has none, or more than a page can compare.
    """
    from person_reid.show.explorer_images import Images, person_name

    index = open_gallery(place, new=False)
    if not 3 <= len(index) <= EXACT:
        raise UserError(
            f"{place}: {len(index):,} images; expected 3 to {EXACT:,}, "
            "all of which the page compares."
        )
    chunks, features = zip(*index.entries(), strict=True)
    entries = [entry for chunk in chunks for entry in chunk]
    return Images(
        np.concatenate(features),
        [image.as_posix() for image, _ in entries],
        [person_name(about.identity) for _, about in entries],
        [about.camera or "" for _, about in entries],
    )


def features_beside(list_: Path) -> Path:
    """Return the features that a list of label errors was made from.

    Raises UserError if they are not there.
    """
    if not list_.is_file():
        raise UserError(f"{list_}: no such list. tools/label_errors.py writes one.")
    path = with_ending(list_, ".mat", ".csv")
    if not path.is_file():
        raise UserError(
            f"{path}: not there. tools/label_errors.py writes it beside the list. A "
            "result with these images serves "
            "too: --result FILE"
        )
    return path


def rank_all(options: Namespace, query: FeatureSet, gallery: FeatureSet) -> list[Ranking]:
    """Return the plain ranking, and those to compare it with."""
    from person_reid.show.cmc import run_names
    from person_reid.show.explorer_rankings import rank

    others = load_result(options.other, paths=True) if options.other else None
    if others:
        check_same_images((query, gallery), options.result, others, f"--other {options.other}")
    name, *more = run_names([path for path in (options.result, options.other) if path])
    ignored = options.ignore_cameras
    rankings = [rank(name, query, gallery, ignore_cameras=ignored)]
    if options.rerank:
        scores = rescorer(rerank_options(options))(query.features, gallery.features)
        rankings.append(rank(f"{name}, re-ranked", query, gallery, scores, ignored))
    if others:
        rankings.append(rank(more[0], *others, ignore_cameras=ignored))
    return rankings


def parse(argv: list[str] | None) -> Namespace:
    """Return the options. Raises UserError for flags that would be ignored."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--result", type=Path, help=f"features written by test.py (default: {RESULT})"
    )
    parser.add_argument("--other", type=Path, help="features of another network, to compare with")
    text = "search index to show instead of a result, without queries and figures"
    parser.add_argument("--index", metavar="FILE", help=text)
    text = (
        "list from tools/label_errors.py, to accept or reject; its images are "
        "read from the .mat file beside it"
    )
    parser.add_argument("--label_errors", type=Path, metavar="FILE.csv", help=text)
    parser.add_argument(
        "--test_dir", help="folder that holds query and gallery, if the images have moved"
    )
    parser.add_argument(
        "--save",
        type=output_path,
        default=Path("look"),
        help="folder to write, or one file: NAME.html",
    )
    text = "count matches from the query's own camera, too; the page then shows no cameras"
    parser.add_argument("--ignore_cameras", action="store_true", help=text)
    parser.add_argument(
        "--rerank", action="store_true", help="also show the re-ranked result, to compare with"
    )
    add_rerank_flags(parser)
    options = parser.parse_args(argv)
    if not options.rerank and (given := given_rerank_flags(options)):
        raise UserError(f"--{', --'.join(given)} would be ignored without --rerank.")
    if options.index and (options.result or options.label_errors):
        raise UserError("--index replaces --result and --label_errors: give one or the other.")
    of_queries = options.rerank or options.other or options.ignore_cameras
    if (options.index or options.label_errors) and not options.result and of_queries:
        words = "--rerank, --other and --ignore_cameras are about rankings of queries."
        raise UserError(f"{words} Name a result that has queries: --result FILE")
    return options
