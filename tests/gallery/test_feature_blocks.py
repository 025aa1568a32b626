"""The features in memory are those of the file, whoever changed it, and only new ones are read."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from person_reid.errors import StoreError
from person_reid.gallery.feature_blocks import FeatureBlocks, blocks_of
from person_reid.gallery.image_table import ImageTable
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter

WIDTH = 8


def names(numbers):
    return [f"{number}.png" for number in numbers]


def add(index, numbers, seed=0):
    """Add images; another seed gives them other features."""
    features = np.random.default_rng((seed, *numbers)).normal(size=(len(numbers), WIDTH))
    index.add(names(numbers), features, states=[""] * len(numbers))


def forget(index, numbers):
    for number in numbers:
        index.forget(Filter(image=Path(f"{number}.png")), "test")


def shown(blocks):
    """The ids and the features of blocks, one after the other."""
    return (
        np.concatenate([ids for ids, _ in blocks]).tolist(),
        np.concatenate([gallery.factor for _, gallery in blocks]),
    )


@pytest.fixture
def index(here):
    with closing(SearchIndex(here / "a.index")) as index:
        yield index


@pytest.fixture
def read(monkeypatch):
    """How many features were read from the file, one number for each time."""
    found, matrix = [], ImageTable._matrix

    def noted(table, rows):
        found.append(len(rows))
        return matrix(table, rows)

    monkeypatch.setattr(ImageTable, "_matrix", noted)
    return found


def test_connections_share_what_is_in_memory_and_read_what_is_new(index, read):
    add(index, range(500))
    query = np.ones((1, WIDTH), np.float32)
    with closing(SearchIndex(index.path)) as one, closing(SearchIndex(index.path)) as other:
        one.search(query, 3)
        other.search(query, 3)
        assert read == [500]
        assert blocks_of(one.store, 0) is blocks_of(other.store, 0)
        for number in range(500, 540):
            add(index, [number])
            for each in (one, other):
                assert len(each.search(query, 600)[0]) == number + 1
        assert read[1:] == [1] * 40
        assert len(blocks_of(one.store, 0)._blocks) < 8
        forget(index, [3])
        assert len(one.search(query, 600)[0]) == 539
        assert read[41:] == []


def test_blocks_are_those_of_a_file_just_opened_after_any_changes(index):
    random = np.random.default_rng(0)
    blocks = FeatureBlocks(0)
    add(index, range(60))
    for step in range(60):
        numbers = sorted({*random.integers(0, 90, 3).tolist()})
        if random.random() < 0.5:
            add(index, numbers, seed=step)  # some of them are replaced
        else:
            forget(index, numbers)
        ids, features = shown(blocks.now(index.store))
        fresh_ids, fresh = shown(FeatureBlocks(0).now(index.store))
        assert ids == fresh_ids
        np.testing.assert_array_equal(features, fresh)


def test_a_connection_sees_its_own_state_beside_one_that_sees_a_later_one(index):
    add(index, range(10))
    blocks = FeatureBlocks(0)
    with closing(SearchIndex(index.path)) as early, early.store.db.transaction("DEFERRED"):
        assert shown(blocks.now(early.store))[0] == [*range(1, 11)]
        add(index, [20, 21])
        assert shown(blocks.now(index.store))[0] == [*range(1, 13)]
        assert shown(blocks.now(early.store))[0] == [*range(1, 11)]
        add(index, [4, 5], seed=1)  # their images get new ids
        later = [1, 2, 3, 4, *range(7, 15)]
        assert shown(blocks.now(index.store))[0] == later
        assert shown(blocks.now(early.store))[0] == [*range(1, 11)]
        assert shown(blocks.now(index.store))[0] == later


def test_images_that_are_listed_and_not_found_are_damage(index, monkeypatch):
    add(index, range(10))
    monkeypatch.setattr(ImageTable, "_count_after", lambda *_: 11)
    with pytest.raises(StoreError, match="11 images are listed, and 10 found"):
        index.search(np.ones((1, WIDTH), np.float32), 3)


def test_another_file_at_the_same_place_is_another(index):
    add(index, range(5))
    index.search(np.ones((1, WIDTH), np.float32), 1)
    index.remove()
    with closing(SearchIndex(index.path)) as second:
        add(second, range(5), seed=1)
        own = shown(FeatureBlocks(0).now(second.store))[1]
        np.testing.assert_array_equal(shown(blocks_of(second.store, 0).now(second.store))[1], own)
