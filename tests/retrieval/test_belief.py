"""Probabilities from evidence, by which the shares of wrong labels are recovered."""

import numpy as np
import pytest

from person_reid.retrieval import belief as module
from person_reid.retrieval.belief import Belief


def drawn(sharpness, images=3000, people=20, seed=0):
    """Evidence (N, P) as sharp as said, and the people (N,) whom the images show.

    The people are drawn by its softmax.
    """
    rng = np.random.default_rng(seed)
    evidence = rng.gumbel(size=(images, people)).astype(np.float32)
    p = module._softmax(sharpness * evidence)
    return evidence, (p.cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)


def test_each_way_to_a_label_is_a_probability_over_labels():
    p = module._softmax(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    ways = sum(module._ways(p, np.full(5, label)) for label in range(7))
    np.testing.assert_allclose(ways, 1, atol=1e-5)


@pytest.mark.parametrize("sharpness", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_sharpness_accuracy_and_share_of_wrong_labels_are_recovered(sharpness, share):
    evidence, shown = drawn(sharpness)
    rng = np.random.default_rng(1)
    wrong = rng.random(len(shown)) < share
    labels = np.where(wrong, (shown + rng.integers(1, 20, len(shown))) % 20, shown)
    belief = Belief(evidence, labels, rng)
    assert belief.accuracy == pytest.approx((evidence.argmax(axis=1) == shown).mean(), abs=0.05)
    said = belief.wrong(evidence, labels)
    assert said.sum() == pytest.approx(wrong.sum(), rel=0.35)
    for low in (0.1, 0.4, 0.7):
        inside = (said >= low) & (said < low + 0.3)
        assert inside.sum() < 30 or abs(said[inside].mean() - wrong[inside].mean()) < 0.12


def test_without_evidence_nothing_is_believed():
    nothing = np.full((3, 2), -np.inf, np.float32)
    belief = Belief(nothing, np.array([0, 1, 0]), np.random.default_rng(0))
    assert np.isnan(belief.accuracy)
    assert not belief.shows(nothing).any()
    assert not belief.wrong(nothing, np.array([0, 1, 0])).any()
    assert not belief.wrong(nothing, np.array([0, 1, 0]), np.array([1, 0, 1])).any()
