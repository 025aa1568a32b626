"""The scores and protocols that evaluate.py's options select.

A multiple query is the mean feature of all images of a person from the query's camera. In the
single-gallery-shot protocol of the original CUHK03 and of PRCC, the gallery holds one random image
of each identity.

Li, Zhao, Xiao, Wang, DeepReID: Deep Filter Pairing Neural Network for Person Re-identification,
CVPR 2014; Yang, Wu, Zheng, Person Re-identification by Contour Sketch under Moderate Clothing
Change, TPAMI 2021.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from person_reid.config.evaluate import EvaluationOptions, RankingOptions
from person_reid.data.file_names import clothes_of, names_in
from person_reid.errors import UserError
from person_reid.retrieval.matches import check_cameras, find_pairs
from person_reid.retrieval.metrics import (
    CAMERAS_IGNORED,
    Metrics,
    evaluate,
    rank_matches,
    scores_of,
    summarize,
    unusual,
)
from person_reid.retrieval.reassociation import evaluate_reassociation
from person_reid.retrieval.results import (
    QUERY_DIGEST,
    FeatureSet,
    load_matrix,
    load_multi_query,
    multi_query_file,
    read_note,
)
from person_reid.retrieval.similarity import DISTANCES, distance_words
from person_reid.text import as_command, counted

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

    from person_reid.distributed import World

log = logging.getLogger(__name__)
ScoreFunction = Callable[[int, int], Any]


def ranking_options(config: EvaluationOptions) -> RankingOptions:
    """Return the options for ranking a gallery; for a re-ranked gallery, they are the defaults."""
    return config if isinstance(config, RankingOptions) else RankingOptions()


def scores_by(
    config: EvaluationOptions,
    query: FeatureSet,
    gallery: FeatureSet,
    device: torch.device | None = None,
) -> ScoreFunction:
    """Return the scores that rank a gallery without re-ranking."""
    ranked = ranking_options(config)
    if not ranked.scores:
        return DISTANCES[ranked.distance](query.features, gallery.features, device)
    matrix = load_matrix(ranked.scores)
    kind = "distances" if ranked.lower_is_nearer else "scores"
    try:
        return scores_of(query, gallery, **{kind: matrix})
    except UserError as error:
        raise UserError(f"{ranked.scores}: {error}") from None


def by_protocol(
    config: EvaluationOptions,
    query: FeatureSet,
    gallery: FeatureSet,
    scores: ScoreFunction | None = None,
    device: torch.device | None = None,
    world: World | None = None,
) -> Iterator[tuple[str, Metrics]]:
    """Yield (name, metrics of the ranking) for each protocol that the options request.

    The name begins a line of output; it is empty for the usual protocol.
    scores: the scores of a re-ranked gallery; by default, the options determine them.
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
    """Return metrics whose protocol names the distance, unless it is the usual one."""
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
    """Return {"1-2": the Metrics of camera 1's queries among camera 2's gallery images}.

    Queries without a match in the other camera are skipped, and so are pairs of cameras without a
    match.
    For the parameters, see evaluate.
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


def read_multi_query(
    result: str | Path, query: FeatureSet, path: str | Path | None = None
) -> FeatureSet | None:
    """Return a result's queries with their multiple-query features, or None without such features.

    path: the file of these features; by default, the file beside the result, if it exists. The
    default file is skipped with a warning if it belongs to other queries, because another network
    was tested since or because it shows other people.

    Raises UserError if `path` is missing or belongs to other queries.
    """
    file = multi_query_file(result) if path is None else Path(path)
    if path is None and not file.exists():
        return None
    if not file.is_file():
        raise UserError(
            f"{file}: not a file. Write it first: {as_command('test.py')} --name NAME --multi"
        )
    written_for = read_note(file, QUERY_DIGEST)
    images = load_multi_query(file) if written_for in ("", query.digest()) else None
    says_nothing = not written_for and path is None  # like the published file
    if not (problem := _misfit(result, query, images, says_nothing)):
        assert images is not None
        return merge_images(query, images, file)
    if path is not None:
        raise UserError(f"{file}: {problem}. Write both with test.py --multi.")
    log.warning("%s: %s. It is ignored. Write both with test.py --multi.", file, problem)
    return None


def _misfit(
    result: str | Path, query: FeatureSet, images: FeatureSet | None, says_nothing: bool
) -> str:
    """Say why the images do not belong to the queries, or return "" if they do.

    images: None if their file belongs to other queries. says_nothing: whether the file does not
    state to which queries it belongs.
    """
    if images is None:
        return f"belongs to other features than those of {result}"
    width, expected = images.features.shape[1], query.features.shape[1]
    if width != expected:
        return f"has features of {width} dimensions; those of {result} have {expected}"
    without = np.count_nonzero(~have_images(query, images))
    if without == len(query):
        return f"has no image of any query of {result} in the query's camera"
    if without and says_nothing:
        return f"lacks {without} of {len(query)} queries, so it may show other people"
    return ""


def merge_images(query: FeatureSet, images: FeatureSet, source: str | Path) -> FeatureSet | None:
    """Return the queries with their images' mean features, or None if no query has images.

    The log reports if no query has images, or how many have none. source: the file or folder of the
    images. All scripts that measure multiple queries call this function.
    """
    without = np.count_nonzero(~have_images(query, images))
    if without == len(query):
        log.warning("%s: no image of any query in its camera, so no multiple query.", source)
        return None
    if without:
        asked = counted(len(query), "query", "queries")
        log.warning(
            "%s: %d of %s have no image there and keep their own feature.", source, without, asked
        )
    return merge_multi_query(query, images)


def have_images(query: FeatureSet, multi_query: FeatureSet) -> npt.NDArray[np.bool_]:
    """Return which queries have an image of their identity and camera in `multi_query`, (Q,)."""
    there = set(zip(multi_query.labels.tolist(), multi_query.cameras.tolist(), strict=True))
    asked = zip(query.labels.tolist(), query.cameras.tolist(), strict=True)
    return np.array([pair in there for pair in asked], bool)


def merge_multi_query(query: FeatureSet, multi_query: FeatureSet) -> FeatureSet:
    """Return the queries, each with the mean feature of its identity in its camera.

    The mean is taken over the images of `multi_query`. A query without such images keeps its own
    feature. Raises UserError if the features differ in dimension.
    """
    if multi_query.features.shape[1] != query.features.shape[1]:
        raise UserError(
            f"multiple query: features of {multi_query.features.shape[1]} dimensions, "
            f"the queries' have {query.features.shape[1]}. "
            f"Extract both with the same network: {as_command('test.py')} --multi --name NAME"
        )
    merged = np.array(query.features)
    for i, (label, camera) in enumerate(zip(query.labels, query.cameras, strict=True)):
        same = (multi_query.labels == label) & (multi_query.cameras == camera)
        if same.any():
            merged[i] = multi_query.features[same].mean(axis=0)
    return FeatureSet(merged, query.labels, query.cameras, query.paths)


def evaluate_single_shot(
    query: FeatureSet,
    gallery: FeatureSet,
    ap: str = "trapezoidal",
    ignore_cameras: bool = False,
    trials: int = 10,
    seed: int = 0,
    clothes: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    same_clothes: bool = False,
) -> Metrics:
    """Return the Metrics over `trials` random galleries.

    In each trial, the queries of one camera see one image of every identity, drawn from the other
    cameras. Junk (label -1) is never drawn; all distractors together count as one identity. The
    per-query arrays of the result hold one trial after another, each ordered by camera.

    query, gallery: the images to search for and to search in.
    ap: the average precision, as in evaluate.
    ignore_cameras: draw from all cameras, for all queries at once.
    trials: the number of random galleries.
    seed: seeds the random draws.
    clothes: what the people in query (Q,) and gallery (G,) wear. Only queries whose drawn match
    wears other clothes are then measured, or with same_clothes, the same clothes.

    Raises UserError under the same conditions as evaluate, and if no image can be drawn.
    """
    persons = gallery.labels != -1
    if ignore_cameras:
        groups = [(np.arange(len(query)), np.flatnonzero(persons))]
    else:
        check_cameras(query, gallery)
        groups = [
            (
                np.flatnonzero(query.cameras == camera),
                np.flatnonzero(persons & (gallery.cameras != camera)),
            )
            for camera in np.unique(query.cameras)
        ]
    without = sum(len(asked) for asked, candidates in groups if not len(candidates))
    if without:
        short = f"for {without} of {len(query)} queries"
        raise UserError(
            f"single_shot: {short} no gallery image can be drawn: "
            "all are junk (label -1) or from the query's own camera. "
            "Check the gallery, or draw from all cameras with ignore_cameras."
        )
    random = np.random.default_rng(seed)
    worn, worn_there = map(np.asarray, clothes or ((), ()))
    parts, measured = [], 0
    for _ in range(trials):
        for asked, candidates in groups:
            shuffled = random.permutation(candidates)
            # The first image of each identity is the drawn one.
            drawn = shuffled[np.unique(gallery.labels[shuffled], return_index=True)[1]]
            queries = asked
            if clothes:
                same = worn[asked, None] == worn_there[drawn]
                matches = query.labels[asked, None] == gallery.labels[drawn]
                queries = asked[(matches & (same == same_clothes)).any(axis=1)]
            if len(queries):
                measured += len(queries)
                found = evaluate(
                    query.select(queries), gallery.select(drawn), ap, ignore_cameras=True
                )
                parts.append(found)
    wanted = f" in {'the same' if same_clothes else 'other'} clothes"
    if not parts:
        raise UserError(f"single_shot: no query has a match{wanted}.")
    if without := trials * len(query) - measured:
        log.warning(
            "%d of %d queries of all draws have no match%s, and are ignored.",
            without,
            trials * len(query),
            wanted,
        )
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Metrics.PER_QUERY
    }
    about = {CAMERAS_IGNORED: ignore_cameras, "single gallery shot": True}
    words = unusual({f"matches{wanted}": clothes, **about})
    size = max(part.gallery_size for part in parts)
    return Metrics(**joined, gallery_size=size, ap=ap, protocol=words)
