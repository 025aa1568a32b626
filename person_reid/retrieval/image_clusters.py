"""The clusters of an epoch of training without labels, and what labels would say of them."""

from typing import NamedTuple

import numpy as np

from person_reid.config.adapt import AdaptConfig
from person_reid.retrieval.clusters import Labels, dbscan, jaccard_graph, reliable
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features

RADIUS_MARGIN = 0.02  # around the radius: images whose cluster changes within it are not reliable
REPORTED_QUERIES = 2000


class Clusters(NamedTuple):
    """Clusters of images.

    labels: (N,), the cluster of each image, -1 for outliers.
    independence: that a reliable cluster needs, for the next epoch; None if all clusters count.
    """

    labels: Labels
    independence: float | None = None


def clusters_of_epoch(
    features: Features,
    cameras: Labels,
    options: AdaptConfig,
    independence: float | None = None,
) -> Clusters:
    """Cluster images by their features (N, D) and cameras (N,).

    independence: what the clusters of the epoch before had.
    """
    if not options.no_camera_norm:
        features = CameraNorm(features, cameras)(features, cameras)
    radius, samples = options.radius, options.min_samples
    if not options.reliable:
        graph = jaccard_graph(features, radius, options.k1, options.k2)
        return Clusters(dbscan(graph, radius, samples), independence)

    around = np.clip([radius - RADIUS_MARGIN, radius + RADIUS_MARGIN], 0.001, 0.999)
    smaller, larger = around.tolist()
    graph = jaccard_graph(features, larger, options.k1, options.k2)
    plain, tight, loose = (dbscan(graph, each, samples) for each in (radius, smaller, larger))
    return Clusters(*reliable(plain, tight, loose, independence))


def report_clusters(
    features: Features, people: Labels, cameras: Labels, clusters: Labels
) -> dict[str, float]:
    """Measure the present state by labels, which training never sees.

    features (N, D); people, cameras, clusters (N,). purity: the share of clustered images whose
    cluster belongs mostly to their person. own_mAP: the mAP with some of these images as queries
    and all as gallery, not a test set's.
    """
    inside = clusters >= 0
    pairs, sizes = np.unique(
        np.stack([clusters[inside], people[inside]]), axis=1, return_counts=True
    )
    largest = np.zeros(clusters.max(initial=-1) + 1, np.int64)
    np.maximum.at(largest, pairs[0], sizes)
    if not (cameras >= 0).all():
        cameras = np.arange(len(cameras))  # each image gets a camera of its own
    everyone = FeatureSet(features, people, cameras)
    count = min(len(people), REPORTED_QUERIES)
    asked = everyone.select(np.linspace(0, len(people) - 1, count).astype(np.int64))
    return {
        "purity": float(largest.sum() / max(inside.sum(), 1)),
        "own_mAP": evaluate(asked, everyone).mAP,
    }
