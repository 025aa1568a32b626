"""Write an explorer of a result: a folder whose index.html opens in any browser, offline.

    python tools/explore.py --result pytorch_result.mat --save look
    python tools/explore.py --rerank                                          # before and after re-ranking
    python tools/explore.py --result resnet.mat --other osnet.mat             # two networks, same images

It shows all queries, worst first, the ranking of any image, a map of the features, and what a threshold accepts,
rejects and gets wrong. The folder contains small copies of all photographs: pass it on only if you may pass them on.
"""

from argparse import Namespace
from pathlib import Path

import numpy as np

from person_reid.basics import UserError, check_folder, printable
from person_reid.cli.parser import Parser
from person_reid.cli.reranking import SETTINGS, add_rerank_flags, rerank_spec
from person_reid.data.layout import some_of
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import RESULT, FeatureSet, load_result


def main(argv: list[str] | None = None) -> None:
    """Rank, draw and write the folder."""
    options = parse(argv)
    query, gallery = load_result(options.result, paths=True)
    others = load_result(options.other, paths=True) if options.other else None
    if others:
        check_same_images(options, (query, gallery), others)

    from person_reid.show.explorer import MARK, write_explorer  # matplotlib loads slowly
    from person_reid.show.explorer_rankings import rank

    check_folder(options.save, MARK)
    name = options.result.stem
    rankings = [rank(name, query, gallery)]
    if options.rerank:
        scores = rescorer(rerank_spec(options))(query.features, gallery.features)
        rankings.append(rank(f"{name}, re-ranked", query, gallery, scores))
    if others:
        rankings.append(rank(options.other.stem if options.other.stem != name else str(options.other), *others))
    missing = write_explorer(options.save, query, gallery, rankings, options.result.name, options.test_dir)
    images = len(query) + len(gallery)
    if missing:
        print(printable(f"{len(missing)} of {images} images cannot be read; their tiles are grey:\n{some_of(missing)}"))
    for ranking in rankings:
        print(printable(ranking.metrics.line("" if len(rankings) == 1 else f"{ranking.name} ")))
    size = sum(path.stat().st_size for path in options.save.rglob("*") if path.is_file())
    print(f"Open {options.save / 'index.html'} in a browser ({size / 1e6:.1f} MB)")


def check_same_images(options: Namespace, sets: tuple[FeatureSet, ...], others: tuple[FeatureSet, ...]) -> None:
    """Raise UserError unless both results are of the same images, in the same order."""
    for images, same, name in zip(sets, others, ("query", "gallery"), strict=True):
        names = [[Path(path).name for path in each.paths or []] for each in (images, same)]
        alike = names[0] == names[1] or not all(names)
        if not (alike and np.array_equal(images.labels, same.labels) and np.array_equal(images.cameras, same.cameras)):
            raise UserError(
                f"--other {options.other}: its {len(same)} {name} images are not the {len(images)} of "
                f"{options.result}. Extract both with test.py from the same folder."
            )


def parse(argv: list[str] | None) -> Namespace:
    """Return the options. Raises UserError for a flag of re-ranking without --rerank."""
    parser = Parser(__doc__)
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument("--other", type=Path, help="features of another network, to compare with")
    parser.add_argument("--test_dir", help="folder that holds query and gallery, if the images have moved")
    parser.add_argument("--save", type=Path, default=Path("look"), help="folder to write")
    parser.add_argument("--rerank", action="store_true", help="also show the re-ranked result, to compare with")
    add_rerank_flags(parser)
    options = parser.parse_args(argv)
    given = [name for name in ("method", "neighbours", *SETTINGS) if getattr(options, name) != parser.get_default(name)]
    if given and not options.rerank:
        raise UserError(f"--{given[0]}: a setting of re-ranking. Add --rerank, or leave it out.")
    return options
