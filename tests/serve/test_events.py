"""Listeners are told what happens, as server-sent events."""

import asyncio
import json

import pytest

pytest.importorskip("starlette")

from person_reid.serve import feeds as module
from person_reid.serve.feeds import KEPT_EVENTS, Events
from person_reid.serve.problems import Problem


def read(text):
    """The fields of an event."""
    assert text.endswith(b"\n\n")
    return dict(line.split(": ", 1) for line in text.decode().strip().split("\n"))


async def some(texts, count):
    """The next texts."""
    return [await asyncio.wait_for(texts.__anext__(), 5) for _ in range(count)]


def test_each_listener_gets_all_events_from_then_on():
    async def listen():
        events = Events(2)
        events.tell("appeared", {"camera": "before"})
        early, late = await events.listen(), await events.listen("0")
        await some(early, 1)
        (text,) = (await some(late, 2))[1:]
        assert read(text)["data"] == '{"camera": "before"}'
        events.tell("appeared", {"name": "Ann\nevent: forged\n\n", "camera": "é"})
        events.tell("corrected", {"camera": "b"})
        for listener in (early, late):
            first, second = map(read, await some(listener, 2))
            assert first["event"] == "appeared"
            assert second["event"] == "corrected"
            assert json.loads(first["data"])["name"] == "Ann\nevent: forged\n\n"
            assert first["id"].replace("-2", "-3") == second["id"]
        await early.aclose()
        events.close()
        return [each async for each in await events.listen(first["id"])]

    assert [read(each)["event"] for each in asyncio.run(listen())[1:]] == ["corrected"]


def test_somebody_who_was_cut_off_gets_what_is_kept():
    async def listen():
        events = Events(1)
        for number in range(KEPT_EVENTS + 10):
            events.tell("appeared", {"number": number})
        return await some(await events.listen("0"), KEPT_EVENTS + 1)

    numbers = [json.loads(read(each)["data"])["number"] for each in asyncio.run(listen())[1:]]
    assert numbers == list(range(10, KEPT_EVENTS + 10))


def test_listeners_are_bounded_and_leave(monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT", 0.01)

    async def listen():
        events = Events(1)
        first = await events.listen()
        assert (await some(first, 3))[1:] == [b": nothing new\n\n"] * 2
        with pytest.raises(Problem, match="1 programs listen") as refused:
            await events.listen()
        assert refused.value.status == 503
        await first.aclose()
        second = await events.listen()
        await some(second, 1)
        events.close()
        return [each async for each in second], events.followers

    assert asyncio.run(listen()) == ([], 0)


def test_nothing_is_repeated_that_was_sent_before_a_deletion():
    async def listen():
        events = Events(2)
        events.tell("appeared", {"name": "Anna"})
        events.forget()
        events.tell("appeared", {"name": "Bob"})
        return await some(await events.listen("0"), 2)

    (text,) = asyncio.run(listen())[1:]
    assert json.loads(read(text)["data"]) == {"name": "Bob"}
