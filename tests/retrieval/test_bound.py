import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from person_reid.errors import UserError
from person_reid.retrieval.bound import (
    FEWEST,
    Bound,
    bounded_threshold,
    false_matches,
    lowest_step,
    upper_bounds,
)
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.thresholds import load_bound, load_threshold, with_bound
from tests.retrieval.conftest import image_set


def people(
    count: int, seed: int = 0, images: int = 2, dimension: int = 6
) -> tuple[FeatureSet, FeatureSet]:
    """(query, gallery) of people seen by two cameras; there are junk and a distractor.

    Some of the people look like many others.
    """
    random = np.random.default_rng(seed)
    centres = (
        random.normal(size=(count, dimension)) * random.uniform(0.3, 1, (count, 1))
        + np.eye(dimension)[0]
    )
    sets = []
    for extra in (0, 3):
        labels = np.concatenate(
            [np.repeat(np.arange(count), images) + 1, np.full(extra, -1), np.zeros(extra)]
        )
        features = np.concatenate(
            [np.repeat(centres, images, axis=0), np.ones((2 * extra, dimension))]
        )
        features = features + 0.5 * random.normal(size=features.shape)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        sets.append(
            image_set(features.astype(np.float32), labels, random.integers(1, 4, len(labels)))
        )
    return sets[0], sets[1]


def slow_cells(query, gallery, size):
    """A list of (person, person, similarity in ten thousandths) and the mean number of images.

    Loops compute them.
    """
    known = [i for i in range(len(gallery)) if gallery.labels[i] > 0]
    order = [known[i] for i in np.random.default_rng(0).permutation(len(known))]
    cells, images = [], 0
    for i in range(len(query)):
        for start in range(0, len(order) - size + 1, size):
            strangers = [
                (round(10_000 * float(query.features[i] @ gallery.features[j])), gallery.labels[j])
                for j in order[start : start + size]
                if gallery.labels[j] != query.labels[i] and gallery.cameras[j] != query.cameras[i]
            ]
            images += len(strangers)
            if strangers:
                similarity, person = max(strangers, key=lambda stranger: stranger[0])
                cells.append((query.labels[i], person, similarity))
    return cells, images / len(cells)


def slow_threshold(cells, rate, confidence):
    """The lowest threshold at which and above which the bound holds.

    The formulas are computed for one threshold at a time.
    """
    everybody = sorted({person for cell in cells for person in cell[:2]})
    involved = [np.array([cell[2] for cell in cells if person in cell[:2]]) for person in everybody]
    every = np.array([cell[2] for cell in cells])
    n = len(everybody)
    kept = None
    for step in range(every.max(), -1, -1):
        y = (every >= step).sum()
        without = [(y - (own >= step).sum()) / (len(cells) - len(own)) for own in involved]
        variance = (n - 1) / n * sum((each - np.mean(without)) ** 2 for each in without)
        most, r = max((own >= step).sum() for own in involved), y / len(cells)
        bound = (r + 2 * most / len(cells)) * math.exp(
            student.ppf(confidence, n - 1) * math.sqrt(variance) / r
        )
        if bound > rate:
            break
        kept = step / 10_000
    return kept


@pytest.mark.parametrize(("size", "rate"), [(1, 0.1), (20, 0.5)])
def test_the_bound_equals_loops_over_people_and_thresholds(size, rate):
    query, gallery = people(FEWEST, images=1)
    cells, images = slow_cells(query, gallery, size)
    found = bounded_threshold(query, gallery, rate, 0.8, size)
    assert found.threshold == slow_threshold(cells, rate * images / size, 0.8)
    assert found.people == FEWEST
    assert found.gallery_size == size
    assert false_matches(query, gallery, size)[1] == images
    assert (size == 1) == (images == 1)


def test_a_similarity_counts_as_it_is_printed():
    query = image_set([[1.0, 0]], [1], [1])
    gallery = image_set([[0.70006, np.sqrt(1 - 0.70006**2)]], [2], [2])
    assert false_matches(query, gallery)[0][:, 7001].tolist() == [1, 1]  # 0.7001


def test_the_bound_is_that_of_the_formulas():
    counts = false_matches(*people(60))[0]
    columns = [
        0,
        *(
            int(np.argmax(counts.sum(axis=0) <= share * counts[:, 0].sum()))
            for share in (0.5, 0.1, 0.01)
        ),
    ]
    own, cells = counts[:, columns[1:]].astype(float), counts[:, 0].sum() / 2
    rates = own.sum(axis=0) / 2 / cells
    without = np.array(
        [
            (rates * cells - mine) / (cells - all_mine)
            for mine, all_mine in zip(own, counts[:, 0], strict=True)
        ]
    )
    deviation = np.sqrt(59 / 60 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    # 59 degrees, from a table
    expected = (rates + 2 * own.max(axis=0) / cells) * np.exp(1.671 * deviation / rates)
    np.testing.assert_allclose(upper_bounds(counts[:, columns], 0.95), expected, rtol=1e-3)


def test_every_higher_threshold_must_hold_too(monkeypatch):
    counts = np.tile(np.array([9, 1, 1, 1, 0]), (FEWEST, 1))
    monkeypatch.setattr(
        "person_reid.retrieval.bound.upper_bounds", lambda *_: np.array([0.1, 0.3, 0.2])
    )
    found = [lowest_step(counts, rate, 0.95) for rate in (0.3, 0.25, 0.15)]
    assert found == [(1, 0.2), (3, 0.2), (None, 0.2)]


def threshold(query, gallery, *asked):
    """The threshold with a bound, or infinity if it has none."""
    try:
        return bounded_threshold(query, gallery, *asked).threshold
    except UserError:
        return math.inf


@settings(max_examples=25)
@given(
    st.integers(0, 99),
    st.lists(st.floats(0.002, 0.6), min_size=2, max_size=2),
    st.lists(st.floats(0.1, 0.99), min_size=2, max_size=2),
    st.sampled_from([1, 9, 500]),
)
def test_more_confidence_or_a_lower_rate_never_lowers_the_threshold(seed, rates, confidences, size):
    sets = people(FEWEST + seed % 9, seed)
    (low, high), (unsure, sure) = sorted(rates), sorted(confidences)
    assert threshold(*sets, low, unsure, size) >= threshold(*sets, high, unsure, size)
    assert threshold(*sets, high, sure, size) >= threshold(*sets, high, unsure, size)


def test_other_people_keep_the_bound():
    """At most a tenth of 100 draws of people from many exceed a bound of 95 %.

    Half of them break the point estimate.
    """
    query, gallery = people(600, images=1, dimension=24)
    counts = false_matches(query, gallery)[0].sum(axis=0)
    true = counts / counts[0]
    broken, estimated = 0, 0
    for draw in range(100):
        drawn = np.random.default_rng(draw).choice(600, FEWEST, replace=False) + 1
        asked, there = (
            each.select(np.flatnonzero(np.isin(each.labels, drawn))) for each in (query, gallery)
        )
        broken += true[round(bounded_threshold(asked, there, 0.03, 0.95).threshold * 10_000)] > 0.03
        own = false_matches(asked, there)[0].sum(axis=0)
        estimated += true[np.argmax(own / own[0] <= 0.03)] > 0.03
    assert broken <= 10
    assert estimated >= 30


def test_too_few_people_are_told_how_many_it_takes():
    for count in (1, 2, FEWEST - 1):
        found = count if count > 1 else 0  # nobody has a pair with a stranger
        with pytest.raises(
            UserError,
            match=rf"rate of 0.1 with so few people \({found}\): at least 50 people are needed",
        ):
            bounded_threshold(*people(count), rate=0.1, confidence=0.95)
    query, gallery = people(1)
    with pytest.raises(UserError, match=r"so few people \(0\)"):
        bounded_threshold(query.select(np.arange(0)), gallery.select(np.arange(0)), 0.1, 0.95)

    def needed(rate):
        with pytest.raises(UserError, match="at least") as error:
            bounded_threshold(*people(60), rate=rate, confidence=0.95)
        return int(str(error.value).split("at least ")[1].split()[0].replace(",", ""))

    assert 60 < needed(1e-4) < needed(1e-6)
    assert bounded_threshold(*people(2 * needed(1e-4)), rate=1e-4, confidence=0.95).threshold < 1


def test_one_camera_is_too_few_and_equal_scores_are_bounded():
    query, gallery = people(FEWEST)
    query.cameras[:] = gallery.cameras[:] = 1
    with pytest.raises(UserError, match=r"so few people \(0\)"):
        bounded_threshold(query, gallery, 0.1, 0.95)
    assert bounded_threshold(query, gallery, 0.1, 0.95, ignore_cameras=True).people == FEWEST
    query.features[:] = gallery.features[:] = np.eye(6)[0]
    with pytest.raises(UserError, match=r"so few people \(50\)"):
        bounded_threshold(query, gallery, 0.1, 0.95, ignore_cameras=True)


def test_identity_0_is_a_person_where_a_query_has_it():
    """Results of other programs count people from 0; distractors are never queries."""
    from_one = people(60)
    query, gallery = (
        image_set(each.features, np.where(each.labels > 0, each.labels - 1, -1), each.cameras)
        for each in from_one
    )
    expected = bounded_threshold(*from_one, 0.05, 0.9)
    found = bounded_threshold(query, gallery, 0.05, 0.9)
    assert found == expected
    assert found.people == 60


def test_a_larger_gallery_than_tested_takes_a_higher_threshold():
    query, gallery = people(200)
    found = [bounded_threshold(query, gallery, 0.3, 0.9, size) for size in (1, 20, 400, 800)]
    assert np.all(np.diff([each.threshold for each in found]) > 0)
    words = "accepts at most 0.3 of searches among 800 images of strangers from other cameras"
    assert found[3].words() == f"{words} (confidence 0.9, 200 people)"


def test_the_images_of_a_search_are_of_many_people():
    query, gallery = (
        each.select(np.flatnonzero(each.labels > 0)) for each in people(200, images=10)
    )
    threshold = bounded_threshold(query, gallery, 0.1, 0.9, 10).threshold
    reached = query.features @ gallery.features.T >= threshold
    strangers = (query.labels[:, None] != gallery.labels) & (
        query.cameras[:, None] != gallery.cameras
    )
    random = np.random.default_rng(7)
    searches = [random.choice(np.flatnonzero(row), 10, replace=False) for row in strangers]
    assert np.mean([reached[i, images].any() for i, images in enumerate(searches)]) < 0.1


def test_a_bound_is_read_with_its_threshold(tmp_path):
    promise: dict[str, Any] = {
        "threshold": 0.5,
        "rate": 1e-3,
        "confidence": 0.95,
        "people": 1234,
        "gallery_size": 1,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"threshold": 0.5, "promise": promise}))
    assert load_bound(file) == load_bound(tmp_path) == Bound(**promise)
    words = (
        "accepts at most 0.001 of pairs of strangers from different cameras "
        "(confidence 0.95, 1,234 people)"
    )
    assert with_bound(tmp_path) == f"{tmp_path}: {words}"
    assert load_threshold(tmp_path) == 0.5
    others: tuple[Any, ...] = (
        {"threshold": 0.4, "promise": promise},
        {"threshold": 0.5, "promise": None},
        {},
        [],
    )
    for other in others:
        file.write_text(json.dumps(other))
        assert load_bound(file) is None
        assert with_bound(file) == str(file)
    assert with_bound("0.5") == "0.5"
