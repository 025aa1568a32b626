"""The clusters of an epoch of training without labels, and what labels would say of them."""

from typing import NamedTuple

import numpy as np

from person_reid.config.adapt import AdaptConfig
from person_reid.data.video.crops import CropTracks
from person_reid.retrieval.clusters import Labels, dbscan, jaccard_graph, reliable
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows, unit_rows_or_zeros
from person_reid.retrieval.track_features import track_halves

RADIUS_MARGIN = 0.02  # around the radius: images whose cluster changes within it are not reliable
REPORTED_QUERIES = 2000
FEWEST_JUDGED = 10  # tracks that are halved, and pairs of strangers


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
    features = centred(features, cameras, options)
    radius, samples = options.radius, options.min_samples
    if not options.reliable:
        graph = jaccard_graph(features, radius, options.k1, options.k2)
        return Clusters(dbscan(graph, radius, samples), independence)

    around = np.clip([radius - RADIUS_MARGIN, radius + RADIUS_MARGIN], 0.001, 0.999)
    smaller, larger = around.tolist()
    graph = jaccard_graph(features, larger, options.k1, options.k2)
    plain, tight, loose = (dbscan(graph, each, samples) for each in (radius, smaller, larger))
    return Clusters(*reliable(plain, tight, loose, independence))


def centred(features: Features, cameras: Labels, options: AdaptConfig) -> Features:
    """Return the features (N, D) that are compared: by default, the cameras (N,) get one mean."""
    return features if options.no_camera_norm else CameraNorm(features, cameras)(features, cameras)


def separation(features: Features, tracks: CropTracks) -> float | None:
    """Return how far the cosines of the halves of tracks are from those of strangers, d′.

        d′ = (mean of halves − mean of strangers) / √((variance of halves + of strangers) / 2)

    Strangers are two tracks that are apart. Returns None with fewer than FEWEST_JUDGED of either.

    features: (N, D). Green and Swets, Signal Detection Theory and Psychophysics, 1966.
    """
    order = np.lexsort((tracks.frames, tracks.labels))
    images = np.split(features[order], np.flatnonzero(np.diff(tracks.labels[order])) + 1)
    means = unit_rows_or_zeros(np.stack([unit_rows(some).mean(axis=0) for some in images]))
    halves = track_halves([some for some in images if len(some) > 1]).transpose(1, 0, 2)
    alike = np.einsum("nd,nd->n", *map(unit_rows_or_zeros, halves))
    first, second = np.nonzero(np.triu(tracks.apart))
    strange = np.einsum("nd,nd->n", means[first], means[second])
    if min(len(alike), len(strange)) < FEWEST_JUDGED:
        return None
    return float((alike.mean() - strange.mean()) / np.sqrt((alike.var() + strange.var()) / 2))


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
        cameras = np.arange(len(cameras))  # each image gets its own camera
    everyone = FeatureSet(features, people, cameras)
    count = min(len(people), REPORTED_QUERIES)
    asked = everyone.select(np.linspace(0, len(people) - 1, count).astype(np.int64))
    return {
        "purity": float(largest.sum() / max(inside.sum(), 1)),
        "own_mAP": evaluate(asked, everyone).mAP,
    }
