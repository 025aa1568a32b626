"""People made of numbers, for every test of retrieval."""

import json

import numpy as np
import pytest
from hypothesis import strategies as st

from person_reid.retrieval.results import FeatureSet, load_multi_query, load_result


@pytest.fixture(scope="session")
def published(fixtures):
    """(query, gallery, multi-query, expected figures) of the published code."""
    folder = fixtures / "retrieval"
    query, gallery = load_result(folder / "pytorch_result.mat")
    return (
        query,
        gallery,
        load_multi_query(folder / "multi_query.mat"),
        json.loads((folder / "expected.json").read_text()),
    )


def figures(metrics):
    """Those that the published code prints."""
    return [metrics.rank(1), metrics.rank(5), metrics.rank(10), metrics.mAP]


def image_set(features, labels, cameras):
    """A FeatureSet from lists."""
    return FeatureSet(np.asarray(features), np.asarray(labels), np.asarray(cameras))


def signs(random, count, dimension=16):
    """(count, dimension) unit features of +-dimension^-1/2.

    If the dimension is a power of 4, cosines are exact and often equal.
    """
    return random.choice([-(dimension**-0.5), dimension**-0.5], (count, dimension)).astype(
        np.float32
    )


def clusters(random, count, dimension=24, identities=6):
    """(count, dimension) unit features around a few centres, some tight and some loose.

    Multiples of 2^-11: their cosines are multiples of 2^-22 below 4, exact in any order of
    summation. The norms are 1 to within 1e-5, which the suite takes for a unit.
    """
    member = random.integers(0, identities, count)
    spread = random.uniform(0.2, 1.5, identities)[member, None]
    features = random.normal(size=(identities, dimension))[member] + spread * random.normal(
        size=(count, dimension)
    )
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    whole = np.round(units * 2**11).astype(int)
    steps = np.array([-1, 1])
    for _ in range(64):  # change a coordinate by one where that brings the norm nearer to 1
        excess = np.square(whole).sum(1) - 2**22
        after = abs(excess[:, None] + (steps * 2 * whole[..., None] + 1).reshape(count, -1))
        best = after.argmin(1)
        nearer = after.min(1) < abs(excess)
        whole[nearer, best[nearer] // 2] += steps[best[nearer] % 2]
    return (whole / 2**11).astype(np.float32)


@st.composite
def data_sets(draw, most=40):
    """(query, gallery) with junk, distractors, ties, duplicates and queries without a match."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    make = draw(st.sampled_from([signs, clusters]))
    sets = []
    for count in (draw(st.integers(1, most)), draw(st.integers(1, most))):
        features = make(random, count) if make is signs else make(random, count, dimension=16)
        sets.append(
            FeatureSet(features, random.integers(-1, 4, count), random.integers(1, 4, count))
        )
    twins = random.integers(0, len(sets[1]), len(sets[1]) // 3)
    sets[1].features[: len(twins)] = sets[1].features[twins]
    return sets
