"""What evaluate.py measures: the scores and the protocols that its options name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from person_reid.config.evaluate import EvaluationOptions, RankingOptions
from person_reid.config.option import OptionError
from person_reid.data.file_names import clothes_of, names_in
from person_reid.errors import UserError
from person_reid.retrieval.metrics import (
    CAMERAS_IGNORED,
    Metrics,
    evaluate,
    find_pairs,
    rank_matches,
    scores_of,
    summarize,
    unusual,
)
from person_reid.retrieval.reassociation import evaluate_reassociation
from person_reid.retrieval.results import FeatureSet, load_matrix
from person_reid.retrieval.similarity import DISTANCES, distance_words
from person_reid.retrieval.single_shot import evaluate_single_shot

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

    from person_reid.distributed import World

ScoreFunction = Callable[[int, int], Any]


def ranking_options(config: EvaluationOptions) -> RankingOptions:
    """Return how the gallery is ranked, by default if it is re-ranked."""
    return config if isinstance(config, RankingOptions) else RankingOptions()


def scores_by(
    config: EvaluationOptions,
    query: FeatureSet,
    gallery: FeatureSet,
    device: torch.device | None = None,
) -> ScoreFunction:
    """Return the scores by which a gallery is ranked unless it is re-ranked."""
    ranked = ranking_options(config)
    if not ranked.scores:
        return DISTANCES[ranked.distance](query.features, gallery.features, device)
    matrix = load_matrix(ranked.scores)
    kind = "distances" if ranked.lower_is_nearer else "scores"
    try:
        return scores_of(query, gallery, **{kind: matrix})
    except UserError as error:
        raise OptionError(f"{{scores}}: {error}", scores=ranked.scores) from None


def by_protocol(
    config: EvaluationOptions,
    query: FeatureSet,
    gallery: FeatureSet,
    scores: ScoreFunction | None = None,
    device: torch.device | None = None,
    world: World | None = None,
) -> Iterator[tuple[str, Metrics]]:
    """Yield (the name of a protocol, the figures of a ranking) for each that the options ask for.

    The name begins a line; it is empty for the usual protocol.
    scores: the scores of a re-ranked gallery; by default, as the options say.
    device: an accelerator, or None for NumPy. world: the processes that share the queries.
    """
    ranked = ranking_options(config)
    if ranked.gap:
        how = (ranked.gap, ranked.query_stride, ranked.distance, device)
        yield "re-associated ", evaluate_reassociation(query, gallery, *how)
        return
    usual: dict[str, Any] = {"ap": config.ap, "ignore_cameras": config.ignore_cameras}
    if ranked.single_shot:
        measure = partial(evaluate_single_shot, query, gallery, **usual)
    else:
        if scores is None:
            scores = scores_by(config, query, gallery, device)
        measure = partial(evaluate, query, gallery, scores=scores, world=world, **usual)
    yield ("general " if config.clothes else ""), _by_distance(measure(), ranked)
    if config.clothes:
        asked, among = (clothes_of(names_in(each.paths), each.labels) for each in (query, gallery))
        for name, same in (("clothes-changing ", False), ("same-clothes ", True)):
            found = measure(clothes=(asked, among), same_clothes=same)
            yield name, _by_distance(found, ranked)


def _by_distance(metrics: Metrics, ranked: RankingOptions) -> Metrics:
    """Return figures whose protocol names the distance, unless it is the usual one."""
    words = {
        distance_words(ranked.distance): ranked.distance != "cosine",
        f"scores of {ranked.scores}": ranked.scores,
        metrics.protocol: metrics.protocol,
    }
    return replace(metrics, protocol=unusual(words))


def by_identity(query: FeatureSet, metrics: Metrics) -> dict[str, Metrics]:
    """Return the Metrics of the queries of each identity, the lowest mAP first.

    metrics: the Metrics of all queries.
    """
    found = {
        str(label): metrics.of(query.labels == label) for label in np.unique(query.labels).tolist()
    }
    return dict(sorted(found.items(), key=lambda each: each[1].mAP))


def by_cameras(
    query: FeatureSet,
    gallery: FeatureSet,
    ap: str,
    scores: ScoreFunction,
    ignore_cameras: bool = False,
) -> dict[str, Metrics]:
    """Return {"1-2": the Metrics of the queries of camera 1 among the gallery images of camera 2}.

    Queries without a match in that camera are skipped, and so are pairs without such a query.
    The parameters are explained at evaluate.
    """
    (queries, images), junk = find_pairs(query, gallery, ignore_cameras)
    shape, found = (len(query), len(gallery)), {}
    for there in np.unique(gallery.cameras).tolist():
        of_camera = gallery.cameras == there
        here = of_camera[images]
        pairs = queries[here], images[here]
        never = ~of_camera | (gallery.labels == -1)
        ranks = rank_matches(scores, shape, pairs, junk, never)
        words = unusual({CAMERAS_IGNORED: ignore_cameras})
        metrics = summarize(ranks, pairs[0], query.labels, int(of_camera.sum()), ap, words)
        matched = metrics.num_matches > 0
        for camera in np.unique(query.cameras[matched]).tolist():
            found[f"{camera}-{there}"] = metrics.of(matched & (query.cameras == camera))
    return dict(sorted(found.items()))
