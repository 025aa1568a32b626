"""Methods for re-ranking a gallery, their memory use, and the expansion of features.

Query expansion and database augmentation add weighted neighbours to each feature:

query, gallery = expand(query, gallery, k1=5, alpha=3.0, augment=0, neighbours=ExactNeighbours())
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers, as_features
from person_reid.config.evaluate import RerankOptions
from person_reid.errors import UserError
from person_reid.retrieval.graph import GraphScores
from person_reid.retrieval.k_reciprocal import KReciprocalScores
from person_reid.retrieval.neighbours import (
    ExactNeighbours,
    FaissNeighbours,
    NeighbourSearch,
    check_neighbours,
)
from person_reid.retrieval.similarity import (
    CHUNK_BYTES,
    MOST_CHUNK_ROWS,
    CosineScores,
    Features,
    Floats,
    Scores,
    check_dimensions,
    thread_count,
    unit_rows,
)

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

# A cosine that rounding puts above 1 stays near 1 even if raised to this power.
MOST_ALPHA = 1000


def expanded_scores(query: Features, gallery: Features, **settings: Any) -> CosineScores:
    """Return the cosines between expanded features, as `scores` for metrics.evaluate.

    settings: see expand.
    """
    return CosineScores(*expand(query, gallery, **settings))


def expand(
    query: Features,
    gallery: Features,
    k1: int,
    alpha: float,
    augment: int,
    neighbours: NeighbourSearch,
) -> tuple[Features, Features]:
    """Expand each query by its k1 nearest gallery images.

    Returns both feature sets, with rows of unit length.

        query ← query + Σ over its k1 nearest of max(cos, 0)^alpha · neighbour

    query, gallery: features (Q, D) and (G, D).
    k1: the number of neighbours; 0 does not change the queries.
    alpha: 0 gives the plain average (Chum et al., Total Recall, ICCV 2007); 3 is the usual choice
        for a weighted average (Radenović, Tolias, Chum, Fine-tuning CNN Image Retrieval with No
        Human Annotation, 2018).
    augment: first expand every gallery image by its own `augment` nearest in the same way
        (Arandjelović, Zisserman, Three Things Everyone Should Know, CVPR 2012); 0 does not change
        the gallery.
    neighbours: the search to use.

    Raises UserError if the gallery has fewer than k1 or `augment` neighbours to give.
    """
    query, gallery = unit_rows(query), unit_rows(gallery)
    for name, value, most in (("k1", k1, len(gallery)), ("augment", augment, len(gallery) - 1)):
        if not 0 <= value <= most:
            raise UserError(
                f"{name}={value}: expected 0 to {most}, the number of neighbours in the gallery."
            )
    if not 0 <= alpha <= MOST_ALPHA:
        raise UserError(f"alpha={alpha}: expected 0 (the plain average) to {MOST_ALPHA}.")
    if augment:
        found = neighbours.search(gallery, gallery, augment + 1, itself=True)
        gallery = _add(gallery, gallery, found.indices[:, 1:], found.similarities[:, 1:], alpha)
    if k1:
        found = neighbours.search(query, gallery, k1)
        query = _add(query, gallery, found.indices, found.similarities, alpha)
    return query, gallery


def _add(
    features: Features, gallery: Features, indices: Integers, similarities: Floats, alpha: float
) -> Features:
    """Add to each feature (N, D) the weighted sum of its neighbours (N, k).

    Returns rows of unit length.
    """
    weights = np.maximum(similarities, 0) ** np.float32(alpha)
    total = np.array(features)
    # One neighbour at a time: an array (N, k, D) would be large.
    for column, weight in zip(indices.T, weights.T, strict=True):
        total += weight[:, None] * gallery[column]
    # Neighbours may cancel the feature, which gives NaN; metrics.evaluate rejects that.
    with np.errstate(invalid="ignore"):
        return total / np.linalg.norm(total, axis=1, keepdims=True)


class Method(NamedTuple):
    """A method for re-ranking: its Scores, its options and its memory.

    The options default to the published values; the memory is the number of bytes per image.
    """

    scores: Callable[..., Scores]
    defaults: dict[str, float]
    bytes_per_image: Callable[..., float]


RERANK_METHODS = {
    # Bytes: the neighbours, and two encodings that hold about half of k1 · k2 entries.
    "k-reciprocal": Method(
        KReciprocalScores,
        {"k1": 20, "k2": 6, "lambda_value": 0.3},
        lambda k1, k2, **_: 12 * (k1 + 1) + 2 * 16 * k1 * k2 / 2,
    ),
    # Bytes: the neighbours, A + Aᵀ of the first step, and A + Aᵀ of the second step. The last has
    # up to three times k1 · k2 entries, and exists twice while it is built.
    "gnn": Method(
        GraphScores,
        {"k1": 26, "k2": 7, "lambda_value": 0.3},
        lambda k1, k2, **_: 12 * k1 + 8 * 2 * k1 + 2 * 8 * 3 * k1 * k2,
    ),
    "aqe": Method(
        expanded_scores,
        {"k1": 5, "alpha": 0.0, "augment": 0},
        lambda k1, augment, **_: 12 * (k1 + augment),
    ),
}
NEIGHBOUR_SEARCHES: dict[str, Callable[..., NeighbourSearch]] = {
    "exact": ExactNeighbours,
    "faiss": lambda device, budget: FaissNeighbours("ivf"),
    "faiss-hnsw": lambda device, budget: FaissNeighbours("hnsw"),
}
COPIES = 3  # the most arrays of a chunk's size that a thread holds at once
log = logging.getLogger(__name__)


def rescorer(options: RerankOptions) -> Callable[..., Scores]:
    """Return a function (query features, gallery features, device) → re-ranked scores.

    Raises UserError for an option that the method would ignore. The function raises UserError for
    features that cannot be compared, for more neighbours than exist, or if re-ranking needs more
    memory than the options allow.

    >>> rescore = rescorer(RerankOptions(method="k-reciprocal", k1=10))
    >>> evaluate(query, gallery, scores=rescore(query.features, gallery.features))
    """
    method, settings = RERANK_METHODS[options.method], _settings(options)

    def rescore(
        query: npt.ArrayLike, gallery: npt.ArrayLike, device: torch.device | None = None
    ) -> Scores:
        query, gallery = as_features(query, "query"), as_features(gallery, "gallery")
        check_dimensions(query, gallery)
        if "k2" in settings:
            check_neighbours(int(settings["k1"]), int(settings["k2"]), len(gallery))
        num_images, dimension = len(query) + len(gallery), query.shape[1]
        budget = plan_memory(
            options, num_images, 4 * dimension + method.bytes_per_image(**settings)
        )
        build = method.scores
        if device is not None and device.type == "cuda" and build is GraphScores:
            from person_reid.retrieval.graph_dense import DenseGraphScores, matrix_fits

            if matrix_fits(num_images, device):
                build = partial(DenseGraphScores, device=device)
        scores = build(
            query,
            gallery,
            **settings,
            neighbours=NEIGHBOUR_SEARCHES[options.neighbours](device, budget),
        )
        scores.budget = budget
        return scores

    return rescore


def _settings(options: RerankOptions) -> dict[str, Any]:
    """Return the options of the method, including its defaults."""
    defaults = RERANK_METHODS[options.method].defaults
    known = {name for method in RERANK_METHODS.values() for name in method.defaults}
    given = {name: value for name in known if (value := getattr(options, name)) is not None}
    for name in given.keys() - defaults.keys():
        takes = ", ".join(defaults)
        raise UserError(f"{name}: method={options.method} does not use it; it takes {takes}.")
    if not 0 <= given.get("lambda_value", 0) <= 1:
        raise UserError(f"lambda_value={given['lambda_value']}: expected 0 to 1.")
    return defaults | given


def plan_memory(options: RerankOptions, num_images: int, bytes_per_image: float) -> int:
    """Return how many bytes a chunk of scores may take, given the memory limit; log the total.

    Raises UserError if not even one row of scores fits.
    """
    fixed = num_images * bytes_per_image
    row = 4 * num_images
    copies = COPIES * thread_count()
    left = options.memory_gb * 1e9 - fixed
    if left < copies * row:
        least = (fixed + copies * row) / 1e9
        raise UserError(
            f"memory_gb={options.memory_gb}: {num_images} images need at least {least:.4f}."
        )
    budget = int(min(CHUNK_BYTES, row * MOST_CHUNK_ROWS, left / copies))
    log.warning(
        "%s: about %.2f GB in addition to the features (limit %g)",
        options.method,
        (fixed + copies * budget) / 1e9,
        options.memory_gb,
    )
    return budget
