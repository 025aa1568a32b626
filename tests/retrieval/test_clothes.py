"""Matches in other clothes, against a loop written from the protocol of LTCC."""

import numpy as np
import pytest

from benchmarks.support.references import loop_evaluate
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet


def people(random, count):
    """(images, clothes): everybody has up to three sets of clothes and is seen by three cameras."""
    labels, cameras = random.integers(-1, 7, count), random.integers(1, 4, count)
    clothes = random.integers(1, 4, count)
    features = random.standard_normal((8, 5))[labels] + random.standard_normal((count, 5))
    features += random.standard_normal((4, 5))[clothes]
    return FeatureSet(features, labels, cameras), clothes


def loop(query, asked, gallery, among, ap):
    """(first matches, APs) of the queries with a match.

    A gallery image of the query's identity is left out if the camera or the clothes are the same.
    """
    firsts, precisions = [], []
    for i in range(len(query)):
        if query.labels[i] == -1:
            continue
        same = gallery.labels == query.labels[i]
        junk = same & ((gallery.cameras == query.cameras[i]) | (among == asked[i]))
        if not (same & ~junk).any():
            continue
        one = query.select([i])
        kept = gallery.select(np.flatnonzero(~junk))
        kept.cameras = np.full(len(kept), 99)
        for each in (one, kept):
            each.features = each.features / np.linalg.norm(each.features, axis=1, keepdims=True)
        precision, _, first = loop_evaluate(one, kept, ap=ap)
        firsts.append(first[0])
        precisions.append(precision[0])
    return firsts, precisions


@pytest.mark.parametrize("ap", ["trapezoidal", "step"])
def test_matches_in_the_same_clothes_are_junk(ap):
    random = np.random.default_rng(3)
    (query, asked), (gallery, among) = people(random, 40), people(random, 90)
    found = evaluate(query, gallery, ap, clothes=(asked, among))
    firsts, precisions = loop(query, asked, gallery, among, ap)
    assert found.first_match.tolist() == firsts
    assert 10 < len(firsts) < 40
    assert found.average_precision == pytest.approx(precisions)
    assert found.mAP == pytest.approx(np.mean(precisions))
    assert found.num_matches.min() > 0
    assert found.mAP < evaluate(query, gallery, ap).mAP


def test_cameras_can_be_ignored_and_clothes_not():
    query = FeatureSet(np.eye(2), [1, 2], [1, 1])
    gallery = FeatureSet(np.eye(2)[[0, 0, 1]], [1, 1, 2], [1, 1, 1])
    clothes = np.array([1, 1]), np.array([1, 2, 2])
    found = evaluate(query, gallery, ignore_cameras=True, clothes=clothes)
    assert found.num_matches.tolist() == [1, 1]
    assert found.first_match.tolist() == [0, 0]


def test_a_query_without_a_match_in_other_clothes_is_left_out_and_counted(caplog):
    query = FeatureSet(np.eye(3), [1, 2, 3], [1, 1, 1])
    gallery = FeatureSet(np.eye(3)[[0, 0, 1, 1]], [1, 1, 2, 9], [2, 3, 2, 2])
    # Person 2 always wears the same, person 3 is never seen again.
    clothes = np.array([1, 1, 1]), np.array([1, 2, 1, 1])
    assert len(evaluate(query, gallery).first_match) == 3
    found = evaluate(query, gallery, clothes=clothes)
    assert (len(found.first_match), found.mAP) == (1, 1)
    assert "2 of 3 queries have no match in other clothes and are ignored." in caplog.messages


def test_where_all_matches_wear_the_same_every_figure_is_0(caplog):
    images = FeatureSet(np.eye(2), [1, 2], [1, 1])
    gallery = FeatureSet(np.eye(2), [1, 2], [2, 2])
    found = evaluate(images, gallery, clothes=(np.ones(2, int), np.ones(2, int)))
    assert (found.mAP, found.rank(1), len(found.first_match)) == (0, 0, 2)
    assert "No query has a match in other clothes, so every figure is 0." in caplog.messages
