"""The sparse graph of clusters against a dense program, and DBSCAN against all distances."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from benchmarks.support.references import dense_k_reciprocal
from person_reid.errors import UserError
from person_reid.retrieval import clusters as module
from person_reid.retrieval.clusters import (
    agreement,
    camera_proxies,
    cluster_means,
    clusters_of_tracks,
    dbscan,
    group_people,
    jaccard_graph,
    margins,
    nearest_others,
)
from person_reid.retrieval.neighbours import overlap
from tests.retrieval.conftest import clusters


def whole(graph):
    """The distances of a graph as a dense matrix; 1, the largest there is, where none is stored."""
    distances = np.ones(graph.shape)
    distances[np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices] = (
        graph.data
    )
    return distances


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(8, 40), st.sampled_from([0.3, 0.5, 0.8]), st.data())
def test_the_sparse_graph_equals_the_dense_distances(seed, count, radius, data):
    """The distances between two parts are those that re-ranking one part among the other gives."""
    features = clusters(np.random.default_rng(seed), count)
    k1 = data.draw(st.integers(2, min(12, count - 2)))
    k2, split = data.draw(st.integers(1, k1)), data.draw(st.integers(count // 4, count // 2))
    if count - split < k1:
        k1 = k2 = 2
    expected = dense_k_reciprocal(features[:split], features[split:], k1, k2, 0.0)
    found = whole(jaccard_graph(features, radius, k1, k2))
    clear = np.abs(expected - radius) > 1e-4
    for part in (found[:split, split:], found[split:, :split].T):
        np.testing.assert_allclose(
            part[clear], np.where(expected <= radius, expected, 1)[clear], atol=1e-5
        )
    assert (found.diagonal() < 1e-5).all()


@pytest.mark.parametrize("radius", [0.3, 0.6])
def test_dbscan_on_the_graph_equals_dbscan_on_all_distances(radius):
    features = clusters(np.random.default_rng(3), 150)
    distances = whole(jaccard_graph(features, 0.999, 10, 4))
    expected = DBSCAN(eps=radius, min_samples=4, metric="precomputed").fit_predict(distances)
    found = dbscan(jaccard_graph(features, radius, 10, 4), radius, 4)
    assert len(set(expected)) > 3
    assert (found == expected).all()


def test_the_blocks_of_rows_do_not_matter(monkeypatch):
    features = clusters(np.random.default_rng(4), 50)
    expected = jaccard_graph(features, 0.6, 8, 3)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 7)
    found = jaccard_graph(features, 0.6, 8, 3)
    assert (found != expected).nnz == 0
    assert found.nnz == expected.nnz > 50


def test_few_and_identical_images_are_clustered():
    same = np.ones((5, 3), np.float32)
    assert (dbscan(jaccard_graph(same)) == 0).all()
    two = np.eye(2, dtype=np.float32)
    assert (dbscan(jaccard_graph(two), min_samples=3) == -1).all()


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(UserError, match=r'pip install "\.\[adapt\]"'):
        dbscan(jaccard_graph(np.eye(4, dtype=np.float32)))


def test_means_of_clusters_have_unit_length_and_leave_outliers_out():
    features = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
    found = cluster_means(features, np.array([1, 0, -1, 1, 0, 0]))
    slow = [features[[1, 4, 5]].mean(0), features[[0, 3]].mean(0)]
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean) for mean in slow], atol=1e-6)


def test_margins_equal_a_loop():
    features = np.random.default_rng(6).normal(size=(9, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2, -1, 0, 0])
    means = cluster_means(features, labels)
    for feature, label, margin in zip(features, labels, margins(features, labels), strict=True):
        others = [feature @ mean for cluster, mean in enumerate(means) if cluster != label]
        assert margin == (
            0 if label < 0 else pytest.approx(feature @ means[label] - max(others), abs=1e-6)
        )
    assert not margins(features, np.zeros(9, np.int64)).any()


def test_agreement_leaves_outliers_out_and_ignores_the_numbers_of_clusters():
    labels = np.array([0, 0, 1, 1, -1, -1])
    assert (
        agreement(labels, np.array([5, 5, 3, 3, 3, 5]))
        == agreement(np.array([5, 5, 3, 3, 3, 5]), labels)
        == 1
    )
    assert agreement(labels, np.array([0, 1, 0, 1, -1, 2])) < 0
    assert agreement(labels, np.full(6, -1)) == 0


def test_nearest_leaves_the_image_itself_out_and_overlap_counts_the_rest():
    features = clusters(np.random.default_rng(7), 30)
    cosines = features.astype(float) @ features.T.astype(float)
    np.fill_diagonal(cosines, -np.inf)
    expected = np.argsort(-cosines, axis=1, kind="stable")[:12, :5]
    found = nearest_others(features, most=12)
    assert (found == expected).all()
    assert overlap(found, found[:, ::-1]) == 1
    assert overlap(found, np.full_like(found, 99)) == 0
    assert overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 5], [7, 8]])) == 0.25
    assert nearest_others(features[:3]).shape == (3, 2)


def test_proxies_belong_to_clusters_and_cameras():
    labels = np.array([1, -1, 0, 1, -1, 1])
    proxies, of_cluster, of_camera = camera_proxies(labels, np.array([5, 5, 5, 7, 7, 5]))
    assert (proxies[[1, 4]] == -1).all()
    assert proxies[0] == proxies[5] != proxies[3]
    shown = np.array([0, 2, 3, 5])
    assert of_cluster[proxies[shown]].tolist() == labels[shown].tolist()
    assert of_camera[proxies[shown]].tolist() == [5, 5, 7, 5]
    assert len(of_cluster) == 3


def crowd(people, images, cameras=2):
    """Features of people who are far apart, and who and which camera each image is of.

    Each camera shifts all of its images.
    """
    random = np.random.default_rng(1)
    who = np.repeat(np.arange(people), images)
    camera = np.tile(np.arange(cameras), people * images // cameras)
    features = (
        np.eye(people, 64, dtype=np.float32)[who]
        + random.standard_normal((len(who), 64), np.float32) / 40
    )
    features += random.standard_normal((cameras, 64), np.float32)[camera] / 3
    return features / np.linalg.norm(features, axis=1, keepdims=True), who, camera


def test_a_track_is_in_one_cluster_and_strangers_are_not():
    """Majorities; of two tracks that are apart, that with fewer images leaves; numbers close up."""
    labels = np.array([0, 0, 1, 1, -1, -1, 1, 2, 2, 2, -1])
    tracks = np.array([0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5])
    apart = np.zeros((6, 6), bool)
    assert clusters_of_tracks(labels, tracks, apart).tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [-1]
    apart[3, 4] = apart[4, 3] = apart[0, 1] = apart[1, 0] = True
    assert clusters_of_tracks(labels, tracks, apart).tolist() == [
        *([0] * 3 + [1] * 4 + [2, 2]), -1, -1,
    ]  # fmt: skip
    apart[1, 2] = apart[2, 1] = apart[0, 3] = apart[3, 0] = True
    assert clusters_of_tracks(labels, tracks, apart)[6] == -1


def test_people_are_grouped_across_cameras_and_keep_the_names_they_have():
    features, who, cameras = crowd(8, 12)
    known = [""] * len(who)
    known[0] = "Anna"
    known[1] = "Anna"
    known[12] = "person 0001"
    known[24] = "Ben"
    known[36] = "Cleo"
    known[37], known[38] = "Ben", "Ben"
    found = group_people(features, cameras, known)
    assert [name for name, own in zip(found, known, strict=True) if own] == [
        name for name in known if name
    ]
    groups = [
        {name for name, own, at in zip(found, known, who, strict=True) if at == i and not own}
        for i in range(8)
    ]
    # The last is decided by two votes to one.
    assert groups[:4] == [{"Anna"}, {"person 0001"}, {"Ben"}, {"Ben"}]
    assert sorted(name for group in groups[4:] for name in group) == [
        f"person {i:04}" for i in (2, 3, 4, 5)
    ]
    found = group_people(features, cameras, known, others={"person 0003", "person 0004"})
    assert set(found[48:]) == {f"person {i:04}" for i in (2, 5, 6, 7)}


def test_who_does_not_resemble_the_known_person_of_a_group_is_somebody_new():
    features, who, cameras = crowd(3, 12)
    known = ["Anna" if i == 0 else "" for i in range(len(who))]
    asked = {}

    def resembles(name, rows):
        asked[name] = rows.tolist()
        return rows < 6

    found = group_people(features, cameras, known, resembles=resembles)
    assert asked == {"Anna": list(range(1, 12))}
    assert found[:6] == ["Anna"] * 6
    assert len({*found[6:12]}) == 1
    assert not {*found[6:12]} & {"Anna", "", *found[12:]}
    few = group_people(features, cameras, known, resembles=lambda name, rows: rows < 10)
    assert few[10:12] == ["", ""]


def test_who_is_alone_is_in_no_group():
    features, who, cameras = crowd(8, 12)
    few = np.flatnonzero((who > 0) | (np.arange(len(who)) < 2))  # two images of the first person
    found = group_people(features[few], cameras[few], [""] * len(few))
    assert found[:2] == ["", ""]
    assert len(set(found[2:])) == 7


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_identical_images_and_single_ones_are_grouped_without_a_warning():
    same = np.eye(1, 16, dtype=np.float32).repeat(6, axis=0)
    assert group_people(same, np.full(6, -1), [""] * 6) == ["person 0001"] * 6
    assert group_people(same[:1], np.zeros(1, int), [""]) == [""]
