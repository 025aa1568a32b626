"""Draw figures for a paper or a slide.

The ending of --save chooses the format: .png, .pdf, .svg or .jpg.

    python tools/figures.py curves --name ft_ResNet50 --save curves.pdf
    python tools/figures.py cmc resnet.mat osnet.mat --save cmc.pdf  # several runs in one figure
    python tools/figures.py histogram --threshold threshold.json --save histogram.svg
    python tools/figures.py map --identities 10 --save map.png

curves: loss, error, learning rate and mAP, epoch by epoch. cmc: the share of queries with a right
answer in their first k. histogram: similarities within and between people, and the threshold. map:
a plane in which images that the network finds similar lie near one another. For rankings see python
demo.py, for heat maps python tools/heatmap.py.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from person_reid.basics import UserError
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser, example_lines
from person_reid.cli.values import picture_file, positive
from person_reid.config.look import Look
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import (
    FLAGS,
    NETWORK,
    RESULT,
    check_same_images,
    load_result,
    read_notes,
)
from person_reid.retrieval.thresholds import error_rates, load_threshold, pair_similarities
from person_reid.run_folder import RunFolder, default_name


def main(argv: list[str] | None = None) -> None:
    """Draw the figure that the command names."""
    parser = Parser(__doc__)
    commands = parser.add_subparsers(
        required=True,
        title="commands, each with its own --help",
        metavar="curves|cmc|histogram|map",
    )

    def add(name: str, draw: Callable[[Namespace], None]) -> Parser:
        command: Parser = commands.add_parser(
            name, help=draw.__doc__, text=draw.__doc__, examples=example_lines(__doc__, name)
        )
        command.add_argument(
            "--save", type=picture_file, default=Path(f"{name}.png"), help="picture to write"
        )
        command.add_argument("--dark", action="store_true", help="draw for a dark screen")
        command.set_defaults(draw=draw)
        return command

    add("curves", curves).add_argument("--name", default=default_name(), help="name of the run")
    command = add("cmc", cmc)
    command.add_argument(
        "results", type=Path, nargs="*", default=[RESULT], help="features written by test.py"
    )
    command.add_argument("--ranks", type=int, default=50, help="last rank to draw")
    command.add_argument(
        "--ignore_cameras",
        action="store_true",
        help="count matches from the query's own camera, too",
    )
    command = add("histogram", histogram)
    command.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    command.add_argument(
        "--threshold",
        help="a number, or a file from tools/threshold.py (default: equal error rate)",
    )
    command.add_argument(
        "--ignore_cameras", action="store_true", help="count pairs from the same camera, too"
    )
    command = add("map", embedding)
    command.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    command.add_argument(
        "--identities",
        type=positive(int),
        default=10,
        help="number of identities, those with the most images",
    )
    command.add_argument(
        "--method",
        choices=("tsne", "umap", "pca"),
        help="default: tsne if it is installed, else pca",
    )
    options = parser.parse_args(argv)
    check_outputs(options, save=[options.save])
    options.draw(options)
    print(f"The picture is in {options.save}")


def curves(options: Namespace) -> None:
    """Draw loss, error, learning rate and mAP of a run, epoch by epoch."""
    from person_reid.run_folder import read_history
    from person_reid.show.curves import draw_curves

    draw_curves(read_history(RunFolder(options.name).log), options.save, Look(dark=options.dark))


def cmc(options: Namespace) -> None:
    """Draw the cumulative matching characteristics of several runs."""
    from person_reid.show.cmc import draw_cmc, run_names

    if options.ranks < 2:
        raise UserError(f"--ranks {options.ranks}: expected 2 or more.")
    names = run_names(options.results)
    results = {name: load_result(path, paths=True) for name, path in names.items()}
    (first, sets), *others = results.items()
    for name, other in others:
        check_same_images(sets, names[first], other, names[name])
    runs = {
        name: evaluate(*found, ignore_cameras=options.ignore_cameras)
        for name, found in results.items()
    }
    draw_cmc(runs, options.save, options.ranks, Look(dark=options.dark))


def histogram(options: Namespace) -> None:
    """Draw the similarities of images of the same and of different people, with the threshold."""
    from person_reid.show.histogram import draw_similarities

    pairs = pair_similarities(*load_result(options.result), options.ignore_cameras)
    if options.threshold is None:
        threshold = error_rates(pairs)["all_pairs"]["rules"]["eer"]["threshold"]
    else:
        threshold = load_threshold(options.threshold, *read_notes(options.result, NETWORK, FLAGS))
    draw_similarities(pairs, threshold, options.save, Look(dark=options.dark))


def embedding(options: Namespace) -> None:
    """Draw a plane in which images that the network finds similar lie near one another."""
    from person_reid.show.embedding import choose, draw_embedding, project

    query, gallery = load_result(options.result)
    images = choose(query, gallery, options.identities)
    points, method = project(images.features, options.method)
    draw_embedding(
        points, images.labels, images.cameras, options.save, method, Look(dark=options.dark)
    )
