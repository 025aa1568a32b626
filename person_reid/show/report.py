"""Make the sections of a report: metrics, curves, thresholds, a map, rankings and heat maps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup

from person_reid.data.images.bank import Pixels, load_bank
from person_reid.models.network import Network
from person_reid.retrieval.metrics import Metrics, evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.thresholds import error_rates, pair_similarities
from person_reid.show import page, ranking
from person_reid.show.charts import draw_cmc, draw_curves, draw_similarities
from person_reid.show.embedding import choose, draw_embedding, project
from person_reid.show.heatmap import activations, overlay
from person_reid.show.sheet import pixels_of
from person_reid.text import counted

REPORT_RANKS = (1, 5, 10)
RULE_TITLES = {
    "eer": "equal error rate",
    "1e-3": "1 stranger in 1,000",
    "1e-4": "1 stranger in 10,000",
}
PAIR_SETS = {"all_pairs": "all pairs", "hardest_per_query": "hardest of every query"}
Heat = Callable[[Sequence[str | Path]], list[list[Pixels]]]


class Tested(NamedTuple):
    """The result of a test.

    metrics: {kind of ranking: Metrics}; "single" is the plain ranking.
    """

    query: FeatureSet
    gallery: FeatureSet
    metrics: dict[str, Metrics]


def metrics_section(tested: Tested, test_dir: ranking.Folder = None) -> Markup:
    """Return the metrics, overall and for each query camera, and the CMC curves."""
    plain = tested.metrics["single"]
    best = {"Rank@1": plain.rank(1), "mAP": plain.mAP, "mINP": plain.mINP}
    header = ["Query", *(f"Rank@{k}" for k in REPORT_RANKS), "mAP", "mINP"]
    rows = [
        [
            name,
            *(percent(found.rank(k)) for k in REPORT_RANKS),
            percent(found.mAP),
            percent(found.mINP),
        ]
        for name, found in tested.metrics.items()
    ]
    cameras, words = [], ranking.words_behind(tested.query, test_dir)
    for camera in np.unique(tested.query.cameras):
        own = tested.query.cameras == camera
        shares = (plain.first_match[own] == 0).mean(), plain.average_precision[own].mean()
        cameras.append(
            [f"camera {words.camera(int(camera))}", int(own.sum()), *map(percent, shares)]
        )
    tables = page.table(header, rows, "in per cent") + page.table(
        ["Queries of", "number", "Rank@1", "mAP"], cameras, "by the query's camera, in per cent"
    )
    return page.html_section(
        "Metrics",
        page.numbers({name: f"{percent(value)} %" for name, value in best.items()}),
        page.halves([tables, page.chart(partial(draw_cmc, tested.metrics), "CMC curves", 42)]),
        remark="Market-1501's protocol: matches from the query's own camera are ignored, "
        "as is junk; trapezoidal AP.",
    )


def curves_section(history: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the training curves. history: see draw_curves."""
    last = history[-1]
    return page.html_section(
        "Training",
        page.chart(partial(draw_curves, history), "Training curves", 56, wide=True),
        remark=f"{counted(len(history), 'epoch')}; the last: loss {last['loss']:.4g}, "
        f"top-1 error {percent(last['error'])} %.",
    )


def thresholds_section(tested: Tested) -> Markup:
    """Return the thresholds for deciding whether two images show one person, with histograms."""
    pairs = pair_similarities(tested.query, tested.gallery)
    found = error_rates(pairs)
    rows = []
    for kind, name in PAIR_SETS.items():
        for rule, words in RULE_TITLES.items():
            values = found[kind]["rules"][rule]
            accepted = 1 - values["error"] if rule == "eer" else values["tpr"]
            rows.append([f"{name}, {words}", f"{values['threshold']:.3f}", percent(accepted)])
    threshold = found["all_pairs"]["rules"]["eer"]["threshold"]
    return page.html_section(
        "Same person or not",
        page.chart(
            partial(draw_similarities, pairs, threshold),
            "Similarities",
            62,
            wide=True,
        ),
        page.table(["Rule", "threshold", "own images accepted, %"], rows),
        remark=f"{found['all_pairs']['genuine']:,} pairs of one person "
        f"and {found['all_pairs']['impostor']:,} of strangers, of different cameras; "
        "hatched: strangers.",
    )


def map_section(tested: Tested, test_dir: ranking.Folder = None) -> Markup:
    """Return a map of features for the people with the most images."""
    images = choose(tested.query, tested.gallery)
    points, method = project(images.features)
    people = counted(len(np.unique(images.labels)), "person", "people")
    words = ranking.words_behind(tested.query, test_dir)
    draw = partial(
        draw_embedding, points, images.labels, images.cameras, method=method, words=words
    )
    return page.html_section(
        "Map of the features",
        page.chart(draw, "Images of people, close together if the network finds them similar", 42),
        remark=f"The {people} with the most images; colour: identity, shape: camera.",
    )


def rankings_section(
    title: str,
    tested: Tested,
    indices: Iterable[int],
    test_dir: ranking.Folder,
    heat: Heat | None,
    remark: str,
) -> Markup:
    """Return a section with queries and their nearest gallery images.

    heat: the network's heat maps to show below the photographs, or None.
    """
    content = []
    for index in indices:
        path, matches, total = ranking.look_up(
            tested.query, tested.gallery, index, test_dir=test_dir
        )
        files = [path, *(match.path for match in matches)]
        kinds = ["asked", *("right" if match.right else "wrong" for match in matches)]
        captions = [["query"], *(ranking.caption(match).split("\n") for match in matches)]
        images = [[pixels_of(file)] for file in files]
        for branch in heat(files) if heat else []:
            images = [[*below, hot] for below, hot in zip(images, branch, strict=True)]
        precision = tested.metrics["single"].average_precision[index]
        words = f"{ranking.summary_of_matches(matches, total)}; AP {precision:.3f}"
        content.append(
            page.heading(f"Query {index}: {ranking.headline(tested.query, index, test_dir)}", words)
        )
        content.append(page.tiles(zip(images, kinds, captions, strict=True)))
    return page.html_section(title, *content, remark=remark)


def heated(
    network: Network,
    size: tuple[int, int],
    device: torch.device | str,
    files: Sequence[str | Path],
) -> list[list[Pixels]]:
    """Return images overlaid with the network's heat, in a list for each branch."""
    found = activations(network, load_bank(files, *size), device)
    return [
        [overlay(pixels_of(file), hot) for file, hot in zip(files, maps, strict=True)]
        for maps in found.values()
    ]


def spread(count: int, number: int) -> Iterable[int]:
    """Return `number` indices spread evenly over range(count), or all if there are fewer."""
    return [
        int(index) for index in np.unique(np.linspace(0, count - 1, min(number, count)).round())
    ]


def measured_rankings(
    query: FeatureSet,
    gallery: FeatureSet,
    multi_query: FeatureSet | None = None,
    rescore: Callable[[Any, Any], Any] | None = None,
) -> Tested:
    """Evaluate a plain ranking and, if given, a re-ranked and a multi-query ranking.

    rescore: see rescorer.
    """
    metrics = {"single": evaluate(query, gallery)}
    if rescore:
        metrics["re-ranked"] = evaluate(
            query, gallery, scores=rescore(query.features, gallery.features)
        )
    if multi_query is not None:
        metrics["multiple"] = evaluate(multi_query, gallery)
    return Tested(query, gallery, metrics)


def percent(value: float) -> str:
    """Format a fraction as a percentage: `90.47` for 0.904691."""
    return f"{100 * value:.2f}"
