"""Query expansion and database augmentation: add to each feature its neighbours, weighted.

query, gallery = expand(query, gallery, k1=5, alpha=3.0, augment=0, neighbours=ExactNeighbours())
"""

from typing import Any

import numpy as np

from person_reid.arrays import Integers
from person_reid.config.option import OptionError
from person_reid.retrieval.neighbours import NeighbourSearch
from person_reid.retrieval.similarity import CosineScores, Features, Floats, unit_rows

# A cosine that rounding puts above 1 stays near 1 when it is raised to this power.
MOST_ALPHA = 1000


def expanded_scores(query: Features, gallery: Features, **settings: Any) -> CosineScores:
    """Return the cosines between expanded features, as `scores` for metrics.evaluate.

    settings: as for expand.
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
    k1: the number of neighbours; 0 leaves the queries as they are.
    alpha: 0 gives the plain average (Chum et al., Total Recall, ICCV 2007); 3 is the usual choice
        for the weighted one (Radenović, Tolias, Chum, Fine-tuning CNN Image Retrieval with No Human
        Annotation, 2018).
    augment: first expand every gallery image by its own `augment` nearest in the same way
        (Arandjelović, Zisserman, Three Things Everyone Should Know, CVPR 2012); 0 leaves the
        gallery as it is.
    neighbours: the search to use.

    Raises OptionError if the gallery has fewer than k1 or `augment` neighbours to give.
    """
    query, gallery = unit_rows(query), unit_rows(gallery)
    for name, value, most in (("k1", k1, len(gallery)), ("augment", augment, len(gallery) - 1)):
        if not 0 <= value <= most:
            raise OptionError(
                f"{{{name}}}: expected 0 to {most}, the number of neighbours in the gallery.",
                **{name: value},
            )
    if not 0 <= alpha <= MOST_ALPHA:
        raise OptionError(
            f"{{alpha}}: expected 0 (the plain average) to {MOST_ALPHA}.", alpha=alpha
        )
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
    # Neighbours may cancel the feature, which gives NaN; metrics.evaluate refuses that.
    with np.errstate(invalid="ignore"):
        return total / np.linalg.norm(total, axis=1, keepdims=True)
