"""What waits: images before the network, and questions before the gallery."""

import asyncio
import os
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from tests.serve.conftest import picture, sent

pytest.importorskip("starlette")

from person_reid.errors import UserError
from person_reid.gallery import index as index_module
from person_reid.gallery import inverted_lists
from person_reid.gallery.image_table import ImageTable
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.inverted_lists import InvertedLists
from person_reid.gallery.metadata import About, Filter
from person_reid.serve.problems import Problem
from person_reid.serve.queues import EmbeddingQueue, Galleries
from person_reid.serve.uploads import remove_unlisted


def one(number):
    """Return the image of one pixel that a number stands for."""
    return [np.array([number], np.uint8)]


def test_images_that_come_together_are_one_batch():
    go, sizes = threading.Event(), []

    def embed(images):
        go.wait(10)
        sizes.append(len(images))
        return np.array(images, np.float32)

    async def ask():
        batches = EmbeddingQueue(embed, batch_size=4, most_waiting=100)
        questions = [asyncio.create_task(batches(one(0)))]
        await asyncio.sleep(0.01)  # it is being embedded
        questions += [asyncio.create_task(batches(one(number))) for number in range(1, 7)]
        await asyncio.sleep(0.01)
        go.set()
        answers = await asyncio.gather(*questions)
        batches.close()
        return answers

    assert [answer.item() for answer in asyncio.run(ask())] == list(range(7))
    assert sizes == [1, 4, 2]


def test_an_image_that_cannot_be_embedded_spoils_no_other():
    def embed(images):
        if 13 in np.array(images):
            raise ValueError("13")
        return np.array(images, np.float32)

    async def ask():
        batches = EmbeddingQueue(embed, batch_size=8, most_waiting=100)
        numbers = [batches(one(number)) for number in (1, 13, 2)]
        return await asyncio.gather(*numbers, return_exceptions=True)

    first, wrong, last = asyncio.run(ask())
    assert (first.item(), last.item()) == (1, 2)
    assert isinstance(wrong, ValueError)


def test_a_full_queue_says_when_to_come_again():
    go = threading.Event()

    def embed(images):
        go.wait(10)
        return np.array(images, np.float32)

    async def ask():
        batches = EmbeddingQueue(embed, batch_size=2, most_waiting=2)
        questions = []
        for number in range(3):
            questions.append(asyncio.create_task(batches(one(number))))
            await asyncio.sleep(0.01)  # the first is being embedded, and the others wait
        with pytest.raises(Problem) as refused:
            await batches(one(4))
        go.set()
        await asyncio.gather(*questions)
        return refused.value

    problem = asyncio.run(ask())
    assert problem.status == 503
    assert problem.headers == {"Retry-After": "1"}


def test_questions_wait_up_to_a_limit(tmp_path):
    SearchIndex(tmp_path / "a.index").close()

    async def ask():
        galleries = Galleries(str(tmp_path / "a.index"), readers=1, most_waiting=2)
        slow = [asyncio.create_task(galleries.read(lambda _: time.sleep(0.05))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="2 questions wait"):
            await galleries.read(len)
        await asyncio.gather(*slow)
        assert await galleries.read(len) == 0
        galleries.close()

    asyncio.run(ask())


def test_a_gallery_that_got_another_network_is_asked_no_more(tmp_path):
    place, features = tmp_path / "a.index", np.eye(2, 8, dtype=np.float32)
    with closing(SearchIndex(place)) as index, closing(SearchIndex(f"{place}.next")) as following:
        for each, probe in ((index, [1, 0]), (following, [0, 1])):
            each.add(["0.jpg", "1.jpg"], features if each is index else features[::-1])
            each.remember({"probe": probe})
        galleries = Galleries(str(place), readers=1, most_waiting=2)

        def search(gallery):
            return gallery.search(features, 1)

        assert len(asyncio.run(galleries.read(search))) == 2
        assert index.take_features(following, ["probe"])
        for call in (galleries.read, galleries.read, galleries.write):
            with pytest.raises(UserError, match="reindexed with another network"):
                asyncio.run(call(search))
        galleries.close()


def test_an_upload_that_was_never_listed_goes(client, tmp_path):
    client.post("/v1/images", **sent(picture("red")))
    (kept,) = tmp_path.glob("people.crops/uploads/*.png")
    lost = kept.with_name(f"{'0' * 64}.png")
    lost.write_bytes(picture("blue"))
    os.utime(kept)  # as a copy, or a restored backup
    index = SearchIndex(tmp_path / "people.index")
    remove_unlisted(index)
    assert lost.exists()  # it may be of another service, a moment ago
    future = time.time() + 3600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: future)
        remove_unlisted(index)
    assert kept.exists()
    assert not lost.exists()


def test_every_reader_has_searched_before_the_first_question(tmp_path):
    place, threads = str(tmp_path / "a.index"), []
    with closing(SearchIndex(place)) as index:
        index.add(["0.jpg", "1.jpg"], np.eye(2, 8, dtype=np.float32))

    async def ask():
        galleries = Galleries(place, readers=3, most_waiting=9)
        await galleries.open()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ImageTable, "chunks", lambda *_: pytest.fail("reads the features"))
            every = threading.Barrier(3)

            def search(gallery):
                every.wait(10)
                threads.append(threading.get_ident())
                return gallery.search(np.eye(1, 8, dtype=np.float32), 1)

            found = await asyncio.gather(*(galleries.read(search) for _ in range(3)))
        assert [each[0][0].path.name for each in found] == ["0.jpg"] * 3
        assert len({*threads}) == 3
        galleries.close()

    asyncio.run(ask())


def test_an_index_that_cannot_be_searched_opens_and_says_so(tmp_path):
    (tmp_path / "a.index").write_bytes(b"no index")

    async def ask():
        galleries = Galleries(str(tmp_path / "a.index"), readers=2, most_waiting=9)
        await galleries.open()
        with pytest.raises(UserError, match="a.index"):
            await galleries.read(len)
        galleries.close()

    asyncio.run(ask())


def test_no_search_waits_for_inverted_lists(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "MOST_COMPARED", 100)
    features = np.random.default_rng(0).normal(size=(300, 8))
    names = [f"{number}.png" for number in range(300)]
    with closing(SearchIndex(tmp_path / "people.index")) as index:
        index.add(names, features, {names[0]: About(identity="Anna")})
        index.prepare()
    go = threading.Event()

    def slow(source, renew=True):
        if renew:
            go.wait(60)
        return InvertedLists(source, renew)

    def lists(gallery):
        assert isinstance(gallery, SearchIndex)
        return gallery.lists().token

    async def ask():
        galleries = Galleries(str(tmp_path / "people.index"), 2, 10)
        await galleries.open()
        older = await galleries.read(lists)
        await galleries.write(lambda gallery: gallery.forget(Filter(identity="Anna"), "Anna"))
        assert await galleries.read(lists) == older
        found = await galleries.read(lambda gallery: gallery.search(features[:2], 1))
        assert found[0][0].path.name != names[0]
        assert found[1][0].path.name == names[1]
        go.set()
        while await galleries.read(lists) == older:
            await asyncio.sleep(0.05)
        galleries.close()

    monkeypatch.setattr(index_module, "InvertedLists", slow)
    asyncio.run(asyncio.wait_for(ask(), 60))


def test_a_service_opens_lists_that_are_behind_once(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "MOST_COMPARED", 100)
    monkeypatch.setattr(inverted_lists, "MOST_NEWER", 10)
    features = np.random.default_rng(0).normal(size=(300, 8))
    names = [f"{number}.png" for number in range(300)]
    place = tmp_path / "people.index"
    with closing(SearchIndex(place)) as index, closing(SearchIndex(place)) as reader:
        index.add(names[:200], features[:200])
        index.prepare()
        index.add(names[200:], features[200:])
        reader.prepare_later = lambda: False
        lists = reader.lists()
        assert lists.is_behind(reader.store)
        for _ in range(2):
            (found,) = reader.search(features[250:251], 1)
            assert found[0].path.name == names[250]
            assert reader.lists() is lists
        index.prepare()  # as another thread of the service
        assert not reader.lists().is_behind(reader.store)


@pytest.mark.parametrize("gone", [20, 150])  # fewer and more than MOST_REPLACED
def test_a_service_searches_older_lists_until_there_are_lists_without_forgotten_images(
    tmp_path, monkeypatch, gone
):
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "MOST_COMPARED", 100)
    monkeypatch.setattr(index_module, "MOST_REPLACED", 100)
    features = np.random.default_rng(0).normal(size=(300, 8))
    names = [f"{number}.png" for number in range(300)]
    asked = []

    def later():
        asked.append(True)
        return False

    def assert_right(reader, last=300):
        answers = [found.path.name for (found,) in reader.search(features[gone:last], 1)]
        assert answers == names[gone:last]
        anna = reader.search(features[:gone], 1)
        assert not {found.path.name for (found,) in anna} & {*names[:gone], *names[last:]}

    place = tmp_path / "people.index"
    with closing(SearchIndex(place)) as index, closing(SearchIndex(place)) as reader:
        index.add(names, features, dict.fromkeys(names[:gone], About("Anna")))
        index.prepare()
        reader.prepare_later = later
        older = reader.lists()
        assert not asked
        assert index.forget_at_once(Filter(identity="Anna"), "words") == gone
        assert not [*tmp_path.glob("*.lists")]
        assert_right(reader)
        assert asked
        index.forget_at_once(Filter(image=b"299.png"), "words")  # while there is no file of lists
        assert_right(reader, 299)
        assert reader.lists() is older
        index.prepare()  # as another thread of the service
        assert_right(reader, 299)
        assert reader.lists() is not older
        assert reader.lists().replaced(reader.store) == 0


def test_no_search_looks_for_files_of_lists_while_they_are_made(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "MOST_COMPARED", 100)
    features, names = (
        np.random.default_rng(0).normal(size=(300, 8)),
        [f"{i}.png" for i in range(300)],
    )
    place = tmp_path / "people.index"
    with closing(SearchIndex(place)) as index, closing(SearchIndex(place)) as reader:
        index.add(names, features)
        index.prepare()
        reader.prepare_later = lambda: True
        older = reader.lists()
        index.forget_at_once(Filter(image=b"0.png"), "words")
        for name in ("tokens_of_files", "InvertedLists"):
            monkeypatch.delattr(index_module, name)
        assert reader.lists() is older
        (found,) = reader.search(features[1:2], 1)
        assert found[0].path.name == "1.png"


def test_a_write_whose_client_has_gone_is_prepared_for_searches(tmp_path, monkeypatch):
    go, prepared = threading.Event(), threading.Event()
    monkeypatch.setattr(SearchIndex, "prepare", lambda _: prepared.set())

    async def ask():
        galleries = Galleries(str(tmp_path / "a.index"), readers=1, most_waiting=9)
        writing = asyncio.create_task(galleries.write(lambda _: go.wait(10)))
        await asyncio.sleep(0.05)
        writing.cancel()
        await asyncio.sleep(0.05)
        assert not prepared.is_set()
        go.set()
        assert await asyncio.to_thread(prepared.wait, 10)
        galleries.close()

    asyncio.run(ask())


def test_closing_completes_a_write_and_closes_the_gallery_of_every_thread(tmp_path, monkeypatch):
    opened, closed = [], []
    place, close = tmp_path / "a.index", SearchIndex.close

    def closing_is_noted(gallery):
        closed.append(gallery)
        close(gallery)

    def add_slowly(gallery):
        opened.append(gallery)
        time.sleep(0.2)
        gallery.add(["0.jpg"], np.eye(1, 8, dtype=np.float32))
        return len(gallery)

    def wait_for_all(gallery):
        every.wait(10)
        opened.append(gallery)

    async def ask():
        galleries = Galleries(str(place), readers=3, most_waiting=9)
        await asyncio.gather(*(galleries.read(wait_for_all) for _ in range(3)))
        writing = asyncio.create_task(galleries.write(add_slowly))
        await asyncio.sleep(0.05)
        galleries.close()
        assert await writing == 1

    every = threading.Barrier(3)
    monkeypatch.setattr(SearchIndex, "close", closing_is_noted)
    monkeypatch.setattr(SearchIndex, "prepare", lambda gallery: opened.append(gallery))
    asyncio.run(ask())
    assert len(opened) == 5  # three readers, the writer, and the thread that prepares
    assert {*map(id, closed)} == {*map(id, opened)}
