"""Query expansion and database augmentation: a feature becomes the weighted sum of its neighbours and itself.

query_features, gallery_features = expand(query.features, gallery.features, k1=5, alpha=3.0)
"""

import numpy as np

from person_reid.basics import UserError
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import CosineScores, unit_rows


class ExpandedScores(CosineScores):
    """Cosines between expanded features: a `scores` for metrics.evaluate. The arguments are those of expand."""

    def __init__(self, query, gallery, k1=5, alpha=0.0, augment=0, neighbours=None):
        super().__init__(*expand(query, gallery, k1, alpha, augment, neighbours))


def expand(query, gallery, k1=5, alpha=0.0, augment=0, neighbours=None):
    """Expand the queries (Q, D) by their k1 nearest of the gallery (G, D). Returns both, of unit length.

        query ← query + Σ over its k1 nearest of max(cos, 0)^alpha · neighbour

    alpha: 0 is the plain average (Chum et al., Total Recall, ICCV 2007); 3 is usual for the weighted one (Radenović,
    Tolias, Chum, Fine-tuning CNN Image Retrieval with No Human Annotation, 2018). augment: first give every gallery
    image its own `augment` nearest in the same way (Arandjelović, Zisserman, Three Things Everyone Should Know, CVPR
    2012); 0 leaves the gallery as it is. neighbours: who searches; exact by default. Raises UserError where k1 or
    augment exceeds the gallery.
    """
    query, gallery = unit_rows(query), unit_rows(gallery)
    neighbours = neighbours or ExactNeighbours()
    for flag, value, most in (("--k1", k1, len(gallery)), ("--augment", augment, len(gallery) - 1)):
        if not 0 <= value <= most:
            raise UserError(f"{flag} {value}: expected 0 to {most}, the neighbours that the gallery has.")
    if alpha < 0:
        raise UserError(f"--alpha {alpha}: expected 0 (the plain average) or more.")
    if augment:
        found = neighbours.search(gallery, gallery, augment + 1, itself=True)
        gallery = _add(gallery, gallery, found.indices[:, 1:], found.similarities[:, 1:], alpha)
    if k1:
        found = neighbours.search(query, gallery, k1)
        query = _add(query, gallery, found.indices, found.similarities, alpha)
    return query, gallery


def _add(features, gallery, indices, similarities, alpha):
    weights = np.maximum(similarities, 0) ** np.float32(alpha)
    total = np.array(features)
    for column, weight in zip(indices.T, weights.T, strict=True):  # one neighbour at a time: (N, k, D) would be large
        total += weight[:, None] * gallery[column]
    return total / np.linalg.norm(total, axis=1, keepdims=True)
