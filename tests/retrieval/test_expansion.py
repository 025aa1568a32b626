from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from person_reid.errors import UserError
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.rerank import expand, expanded_scores
from tests.retrieval.conftest import clusters


def slow_expand(features, gallery, k, alpha, skip=None):
    """Loop over the images; `skip`: an image is not its own neighbour."""
    result = []
    for i, feature in enumerate(features):
        cosine = gallery @ feature
        order = [j for j in np.argsort(-cosine, kind="stable") if not (skip and j == i)][:k]
        total = feature + sum(max(cosine[j], 0) ** alpha * gallery[j] for j in order)
        result.append(total / np.linalg.norm(total))
    return np.array(result, np.float32)


@given(
    st.integers(0, 2**32), st.integers(0, 5), st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 5)
)
def test_expansion_equals_a_loop(seed, k1, alpha, augment):
    random = np.random.default_rng(seed)
    query, gallery = clusters(random, 9), clusters(random, 20)
    found = expand(query, gallery, k1, alpha, augment, ExactNeighbours())
    wider = slow_expand(gallery, gallery, augment, alpha, skip=True) if augment else gallery
    np.testing.assert_allclose(found[1], wider, atol=1e-5)
    np.testing.assert_allclose(
        found[0], slow_expand(query, wider, k1, alpha) if k1 else query, atol=1e-5
    )


def test_scores_are_cosines_of_the_expanded():
    random = np.random.default_rng(0)
    query, gallery = clusters(random, 4), clusters(random, 9)
    settings: dict[str, Any] = {
        "k1": 3,
        "alpha": 2.0,
        "augment": 2,
        "neighbours": ExactNeighbours(),
    }
    wide_query, wide_gallery = expand(query, gallery, **settings)
    scores = expanded_scores(query, gallery, **settings)
    np.testing.assert_allclose(scores(1, 4), wide_query[1:] @ wide_gallery.T, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k1": 10}, "^k1=10: expected 0 to 9"),
        ({"augment": 9}, "^augment=9: expected 0 to 8"),
        ({"alpha": -1.0}, "^alpha=-1.0: expected 0 "),
    ],
)
def test_impossible_settings_are_refused(options, words):
    random = np.random.default_rng(0)
    settings: dict[str, Any] = {
        "k1": 5,
        "alpha": 0.0,
        "augment": 0,
        "neighbours": ExactNeighbours(),
        **options,
    }
    with pytest.raises(UserError, match=words):
        expand(clusters(random, 4), clusters(random, 9), **settings)
