"""Another network for an index: features change all at once, and what is known of images stays."""

from contextlib import closing

import numpy as np
import pytest

from person_reid.config.search import ReindexConfig
from person_reid.errors import UserError
from person_reid.gallery import upkeep
from person_reid.gallery.forgetting import not_forgotten
from person_reid.gallery.image_table import next_file
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.upkeep import faults_of, reindex_images

OLD = np.eye(6, 8, dtype=np.float32) + 0.1
NEW = np.eye(6, 16, dtype=np.float32)[::-1] + 0.1
KNOWN = About("Anna", "3", "2026-11-01 08:30:00Z", "4", "film", {"store": "north"})
CONFIG = ReindexConfig(index="people.index", name="better")


@pytest.fixture
def images(here):
    """Six files in people.index, of which one is Anna."""
    paths = [here / f"{number}.jpg" for number in range(6)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with closing(SearchIndex("people.index")) as index:
        index.add(paths, OLD, {paths[0]: KNOWN})
        index.remember({"network": {"name": "ours"}, "probe": [1, 0]})
        index.note("decided", {"film/4": True})
    return paths


@pytest.fixture
def network(monkeypatch):
    """A network whose features of file K are NEW[K]; it notes what it has read."""
    read: list[int] = []

    def embed(paths):
        read.extend(int(path.stem) for path in paths)
        return NEW[[int(path.stem) % len(NEW) for path in paths]]

    def opened(index, config):
        index.remember({"network": {"name": config.name}, "probe": [0, 1]})
        if index.recall("network") != {"name": config.name}:
            raise UserError(f"{index.path}: made with other flags.")
        return embed

    monkeypatch.setattr(upkeep, "open_network", opened)
    return read


def found(index, images):
    assert [match.path for (match,) in index.search(NEW, 1)] == images
    return index.search(NEW[:1], 1)[0][0].about


def test_features_change_and_all_that_is_known_stays(images, network):
    with closing(SearchIndex("people.index")) as index:
        index.forget(Filter(image=images[5]), "image")
        assert reindex_images(index, CONFIG) == 5
        assert index.width() == 16
        assert [match.path for (match,) in index.search(NEW[:5], 1)] == images[:5]
        assert index.search(NEW[:1], 1)[0][0].about == KNOWN
        assert (index.recall("network"), index.recall("probe")) == ({"name": "better"}, [0, 1])
        assert index.notes("decided") == {"film/4": True}
        assert not_forgotten(index, images) == images[:5]
        assert not [*faults_of(index)]
        assert not next_file(index.path).exists()
        assert reindex_images(index, CONFIG) == 5  # again, with the same network
        assert not [*faults_of(index)]


def test_an_interrupted_run_goes_on_and_the_index_stays_as_it_was(images, network, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    content = SearchIndex("people.index")
    with closing(content) as index, monkeypatch.context() as patched:
        patched.setattr(SearchIndex, "take_features", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reindex_images(index, CONFIG)
        assert [match.path for (match,) in index.search(OLD, 1)] == images
        other = ReindexConfig(index="people.index", name="third")
        with pytest.raises(
            UserError, match=r"other flags\. To begin anew .*, delete people\.index\.next"
        ):
            reindex_images(index, other)
    with closing(SearchIndex("people.index")) as index:
        reindex_images(index, CONFIG)
        assert network == [*range(6)]
        assert found(index, images) == KNOWN


def test_images_that_others_add_and_forget_meanwhile_are_as_they_left_them(
    images, network, here, monkeypatch
):
    late = here / "6.jpg"
    late.write_bytes(b"late")
    with (
        closing(SearchIndex("people.index")) as index,
        closing(SearchIndex("people.index")) as other,
    ):

        def once(self, *arguments, original=SearchIndex.take_features):
            monkeypatch.setattr(SearchIndex, "take_features", original)
            other.add([late], OLD[:1])
            other.forget(Filter(image=images[1]), "image")
            assert str(images[1]).encode() not in next_file(index.path).read_bytes()
            return self.take_features(*arguments)

        monkeypatch.setattr(SearchIndex, "take_features", once)
        assert reindex_images(index, CONFIG) == 6
        left = {path for some in index.images() for path, _ in some}
        assert left == {late, *images} - {images[1]}
        for use in (
            lambda: other.search(OLD[:1], 1),
            lambda: [*other.entries()],
            lambda: other.add([late], OLD[:1]),
        ):
            with pytest.raises(UserError, match="another network"):
                use()


def test_images_that_are_gone_or_changed_are_named_before_anything_is_read(images, network):
    images[2].unlink()
    images[3].write_bytes(b"another picture")
    words = r"2 images changed or gone since indexed, such as .*2\.jpg\. Beforehand"
    with (
        closing(SearchIndex("people.index")) as index,
        pytest.raises(UserError, match=words),
    ):
        reindex_images(index, CONFIG)
    assert network == []
    assert not next_file("people.index").exists()
