# PYTHON_ARGCOMPLETE_OK
"""Draw pictures for papers or slides; the extension of --save, such as .pdf, chooses the format.

    python tools/figures.py curves --name ft_ResNet50 --save curves.pdf
    python tools/figures.py cmc resnet.mat osnet.mat --save cmc.pdf    # several runs in one picture
    python tools/figures.py cmc resnet_*.mat osnet_*.mat --seeds --width column --no_title
    python tools/figures.py table resnet_*.mat osnet_*.mat --seeds --latex > table.tex
    python tools/figures.py histogram --threshold threshold.json --save histogram.svg
    python tools/figures.py map --identities 10 --save map.png

curves: loss, error, learning rate and mAP by epoch. cmc: the share of queries with a right answer
among the first k. table: Rank@k, mAP and mINP. histogram: similarities within and between people,
and the threshold. map: a plane in which similar images are close together. python demo.py draws
rankings, and python tools/heatmap.py draws heat maps.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.evaluate import EvaluationOptions
from person_reid.config.forms import listed_numbers
from person_reid.config.look import (
    OWN_FIGURES,
    THRESHOLD,
    Figure,
    Look,
    TableForm,
    own_or,
)
from person_reid.config.option import POSITIVE, Options, option, redeclared
from person_reid.console import parse_command, run_script
from person_reid.console.options import load_plugins
from person_reid.console.outputs import check_outputs
from person_reid.retrieval import metric_tables
from person_reid.retrieval.results import FEATURE_FLAGS, NETWORK, check_same_images, read_notes
from person_reid.retrieval.thresholds import error_rates, pair_similarities
from person_reid.run_folder import default_name, read_history
from person_reid.text import printable

PROJECTION_NAMES = ("tsne", "pca")


class CurvesConfig(reid.FigureOptions):
    """Draw loss, error, learning rate and mAP of a run by epoch."""

    name: str | None = option(None, "name of the run (default: ft_ResNet50, or the only one)")
    save: str = redeclared(reid.FigureOptions, "save", "curves.png")


class ComparedResults(Options, title="results"):
    """The results to compare."""

    results: tuple[str, ...] = option(
        ("pytorch_result.mat",),
        "features written by test.py",
        several="*",
        positional=True,
        metavar="RESULT",
    )
    seeds: bool = option(
        False,
        "mean ± deviation of runs with several seeds: net_seed3 and net_seed7, or net_0 and net_1",
    )
    ignore_cameras: bool = option(False, "also count matches from the query's own camera")


class CmcConfig(ComparedResults, reid.FigureOptions):
    """Draw the cumulative matching characteristics of several runs."""

    ranks: int = option(50, "last rank to draw")
    save: str = redeclared(reid.FigureOptions, "save", "cmc.png")


class TableConfig(TableForm, ComparedResults):
    """Print Rank@1, Rank@5, Rank@10, mAP and mINP of several runs."""

    ap: str = redeclared(EvaluationOptions, "ap", "trapezoidal")
    ranks: str = redeclared(EvaluationOptions, "ranks", "1,5,10")
    labels: str | None = redeclared(Look, "labels", None)


class HistogramConfig(reid.FigureOptions):
    """Draw the similarities within and between people, with the threshold."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    threshold: str | None = option(None, f"{THRESHOLD} (default: equal error rate)")
    ignore_cameras: bool = option(False, "also count pairs from the same camera")
    save: str = redeclared(reid.FigureOptions, "save", "histogram.png")


class MapConfig(reid.FigureOptions):
    """Draw a map in which similar images are close to one another."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    identities: int = option(10, "number of identities, those with the most images", range=POSITIVE)
    method: str | None = option(
        None, "default: tsne if it is installed, else pca", choices=PROJECTION_NAMES
    )
    save: str = redeclared(reid.FigureOptions, "save", "map.png")


def main(argv: list[str] | None = None) -> None:
    """Draw the picture that the command names, or print the table."""
    load_plugins(argv)  # plugins may register figures
    figures = {**DRAWN_HERE, **OWN_FIGURES}
    kinds = {name: figure.options for name, figure in figures.items()}
    name, config = parse_command({**kinds, "table": TableConfig}, argv, __doc__)
    if name == "table":
        print(table(config))
        return
    check_outputs(config, save=[config.save])
    figures[name].draw(config)
    print(f"The picture is in {config.save}")


def curves(config: CurvesConfig) -> None:
    """Draw loss, error, learning rate and mAP."""
    from person_reid.show.charts import draw_curves  # matplotlib loads slowly, here and below

    history = read_history(reid.RunFolder(config.name or default_name()).log)
    draw_curves(history, config.save, config)


def cmc(config: CmcConfig) -> None:
    """Draw the cumulative matching characteristics of runs."""
    from person_reid.show.charts import draw_cmc

    if config.ranks < 2:
        raise reid.UserError(f"ranks={config.ranks}: expected 2 or more.")
    draw_cmc(compared(config), config.save, config.ranks, config)


def table(config: TableConfig) -> str:
    """Return the table of runs, as Markdown unless the flags choose another format."""
    runs = compared(config, config.ap)
    runs = dict(zip(own_or(list(runs), config.labels), runs.values(), strict=True))
    head, rows = metric_tables.figure_rows(runs, listed_numbers(config.ranks, int))
    if config.seeds:
        head.append("seeds")
        for row, run in zip(rows, runs.values(), strict=True):
            row.append(str(len(run)))
    return metric_tables.written_table(head, rows, config, config.labels)


def compared(config: ComparedResults, ap: str = "trapezoidal") -> dict[str, Any]:
    """Return {name of a run: its metrics}, or, with --seeds, lists with the metrics of each seed.

    ap: the average precision, as in evaluate.
    Raises UserError if the results have different images, or if --seeds combines none of them.
    """
    from person_reid.show.charts import run_names

    names = run_names([Path(path) for path in config.results])
    results = {name: reid.load_result(path, paths=True) for name, path in names.items()}
    (first, sets), *others = results.items()
    for name, other in others:
        check_same_images(sets, names[first], other, names[name])
    runs = {
        name: reid.evaluate(*found, ap, ignore_cameras=config.ignore_cameras)
        for name, found in results.items()
    }
    if not config.seeds:
        return runs
    together = metric_tables.by_seed(runs)
    if len(together) == len(runs):
        apart = ", ".join(map(printable, runs))
        raise reid.UserError(
            f"seeds: no two of these are seeds of one network: {apart}. "
            "Call them NET_seed3.mat and NET_seed7.mat, or NET_0.mat and NET_1.mat."
        )
    return together


def histogram(config: HistogramConfig) -> None:
    """Draw similarities, with the threshold."""
    from person_reid.show.charts import draw_similarities

    pairs = pair_similarities(*reid.load_result(config.result), config.ignore_cameras)
    if config.threshold is None:
        threshold = error_rates(pairs)["all_pairs"]["rules"]["eer"]["threshold"]
    else:
        threshold = reid.load_threshold(
            config.threshold, *read_notes(config.result, NETWORK, FEATURE_FLAGS)
        )
    draw_similarities(pairs, threshold, config.save, config)


def embedding(config: MapConfig) -> None:
    """Draw a map of features."""
    from person_reid.show.embedding import choose, draw_embedding, project
    from person_reid.show.ranking import words_behind

    query, gallery = reid.load_result(config.result, paths=True)
    images = choose(query, gallery, config.identities)
    points, method = project(images.features, config.method)
    words = words_behind(query)
    draw_embedding(points, images.labels, images.cameras, config.save, method, config, words)


DRAWN_HERE = {
    "curves": Figure(CurvesConfig, curves),
    "cmc": Figure(CmcConfig, cmc),
    "histogram": Figure(HistogramConfig, histogram),
    "map": Figure(MapConfig, embedding),
}

if __name__ == "__main__":
    run_script(main)
