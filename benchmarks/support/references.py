"""Simple reference implementations for person_reid: slow, dense, easy to check.

Tests and benchmarks compare the package with them.

On some processors, a BLAS rounds equal columns of a product differently. Images whose features are
equal to the last bit must have the same score and be ordered by their index, so these functions
multiply only the distinct rows.
"""

import numpy as np


def distinct_rows(features):
    """Return (the distinct rows of `features` (N, D), each image's index among them)."""
    rows, of_image = np.unique(features, axis=0, return_inverse=True)
    return rows, of_image.ravel()


def products(queries, gallery):
    """Return (Q, G) dot products of queries (Q, D) and gallery (G, D).

    They are the same, bit for bit, for equal rows of the gallery.
    """
    rows, of_image = distinct_rows(gallery)
    return (queries @ rows.T)[:, of_image]


def loop_evaluate(query, gallery, scores=None, ap="trapezoidal"):
    """Return (AP, INP, rank of the first match or -1), each (Q,).

    A loop over the queries sorts the gallery.

    scores: (Q, G), or None for the dot products of the features. Zheng et al., Scalable Person
    Re-identification, 2015.
    """
    rows, of_image = distinct_rows(gallery.features) if scores is None else (None, None)
    results = []
    for i in range(len(query.labels)):
        score = (rows @ query.features[i])[of_image] if scores is None else scores[i]
        order = np.argsort(-score, kind="stable")
        same = gallery.labels[order] == query.labels[i]
        seen = gallery.cameras[order] == query.cameras[i]
        valid = (gallery.labels[order] != -1) & ~(same & seen)
        results.append(_one_query(np.flatnonzero(same[valid]), ap))
    return tuple(np.array(column) for column in zip(*results, strict=True))


def _one_query(ranks, ap):
    if len(ranks) == 0:
        return 0.0, 0.0, -1
    area = 0.0
    for i, rank in enumerate(ranks):
        precision = (i + 1) / (rank + 1)
        before = i / rank if rank > 0 else 1.0
        area += precision if ap == "step" else (precision + before) / 2
    return area / len(ranks), len(ranks) / (ranks[-1] + 1), ranks[0]


def dense_k_reciprocal(query, gallery, k1=20, k2=6, lambda_value=0.3):
    """Return the (Q, G) distances of k-reciprocal re-ranking, computed on (N, N) matrices.

    Zhong et al., Re-ranking with k-reciprocal Encoding, CVPR 2017.

    query (Q, D), gallery (G, D): unit features. The original distance is the published (2 - 2
    cos)², each row divided by its maximum; every image comes first among its own neighbours, and
    equal images are ordered by index.
    """
    features = np.concatenate([query, gallery])
    cosine = products(features, features)
    neighbours = _neighbours(cosine, k1 + 1)
    distance = np.square(2 - 2 * cosine)
    del cosine  # two gigabytes at Market-1501's size
    distance /= np.maximum(distance.max(axis=1, keepdims=True), 1e-12)
    encoding = np.zeros_like(distance)
    for i in range(len(features)):
        members = own = _reciprocal(neighbours, i, k1 + 1)  # R(i), eq. 1
        for j in own:  # eq. 2
            theirs = _reciprocal(neighbours, j, round(k1 / 2) + 1)
            if len(np.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                members = np.union1d(members, theirs)
        weight = np.exp(-distance[i, members])  # eq. 7
        encoding[i, members] = weight / weight.sum()
    encoding = np.stack([encoding[row[:k2]].mean(axis=0) for row in neighbours])  # eq. 11
    columns = [np.flatnonzero(column) for column in encoding.T]
    result = np.empty((len(query), len(features)), np.float32)
    for i in range(len(query)):
        shared = np.zeros(len(features), np.float32)
        for j in np.flatnonzero(encoding[i]):  # eq. 10
            shared[columns[j]] += np.minimum(encoding[i, j], encoding[columns[j], j])
        # Equation 12.
        result[i] = (1 - lambda_value) * (1 - shared / (2 - shared)) + lambda_value * distance[i]
    return result[:, len(query) :]


def _neighbours(cosine, k):
    """Return (N, k) indices of the nearest images, the image itself first, computed in blocks."""
    found = []
    for start in range(0, len(cosine), 256):
        block = -cosine[start : start + 256]
        block[np.arange(len(block)), np.arange(len(block)) + start] = -np.inf
        found.append(np.argsort(block, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


def _reciprocal(neighbours, i, k):
    forward = neighbours[i, :k]
    return forward[(neighbours[forward, :k] == i).any(axis=1)]


def dense_graph(query, gallery, k1=26, k2=7, lambda_value=0.3):
    """Return the (Q, G) scores of graph re-ranking, computed in float64 on (N, N) matrices.

    Zhang et al., Understanding Image Retrieval Re-Ranking, 2020.
    """
    features = np.concatenate([query, gallery]).astype(np.float64)
    cosine = products(features, features)
    neighbours = _neighbours(cosine, k1)
    graph, weights = np.zeros_like(cosine), np.zeros_like(cosine)
    np.put_along_axis(graph, neighbours, 1, axis=1)
    near = neighbours[:, :k2]
    np.put_along_axis(weights, near, np.take_along_axis(cosine, near, axis=1) ** 2, axis=1)
    for _ in range(2):
        graph = weights @ (graph + graph.T)
        graph /= np.linalg.norm(graph, axis=1, keepdims=True)
    score = (1 - lambda_value) * graph @ graph.T + lambda_value * cosine
    return score[: len(query), len(query) :]
