"""Notes of a gallery in Milvus beside its images: values under keys, in a collection.

notes = MilvusNotes(server, "people_about")
notes.remember({"network": {"name": "ft_ResNet50"}})

Milvus has no transactions and keeps the last of two values. Those who remember take turns instead.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from person_reid.gallery.milvus_server import LONGEST_TEXT_BYTES, MilvusServer
from person_reid.text import parse_json

TURN = "turn "  # begins the key of a process that waits for its turn
NAME_MARK = "mark "  # begins the key of a name that is stored without a value
MARKS_OF_MESSAGE = 1000
TURN_PAUSE = 0.05  # seconds until it asks again
LONGEST_TURN = 30  # seconds; a process that takes longer has ended


class MilvusNotes:
    """The values that a gallery remembers, each under its key; a long one in several rows."""

    def __init__(self, server: MilvusServer, collection: str) -> None:
        self.server, self.collection = server, collection
        server.load(collection)

    def exist(self) -> bool:
        """Return whether anything was ever remembered."""
        return self.server.exists(self.collection)

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        rows = self._beginning(f"{key} ") if self.exist() else {}
        text = "".join(rows[part] for part in sorted(rows))
        return parse_json(text) if text else None

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that are not there yet.

        Returns {key: the value it holds}. If several processes do so at once, one stores its values
        first, and the others are told these.
        """
        found = {key: self.recall(key) for key in values}
        if None not in found.values():
            return found
        if not self.exist():
            self._create()
        with self._turn():
            for key, value in values.items():
                if self.recall(key) is None:
                    self._store(key, json.dumps(value))
            return {key: self.recall(key) for key in values}

    def mark(self, names: Sequence[str]) -> None:
        """Store names, of which `marked` tells which are there."""
        if names and not self.exist():
            self._create()
        for some in _messages(names):
            self._put({f"{NAME_MARK}{name}": "" for name in some})

    def marked(self, names: Sequence[str]) -> set[str]:
        """Return those of some names that were stored."""
        found: set[str] = set()
        for some in _messages(names) if self.exist() else ():
            condition = f"key in {json.dumps([f'{NAME_MARK}{name}' for name in some])}"
            rows = self.server.query(self.collection, condition, ["key"])
            found |= {str(row["key"]).removeprefix(NAME_MARK) for row in rows}
        return found

    def unmark(self, names: Sequence[str]) -> None:
        """Delete names that were stored."""
        for some in _messages(names) if self.exist() else ():
            self._drop([f"{NAME_MARK}{name}" for name in some])

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one process at a time do something.

        Each takes a number above all others, and waits until nobody has a lower one or is taking
        one. Lamport, A New Solution of Dijkstra's Concurrent Programming Problem, 1974.
        """
        mine = f"{TURN}{secrets.token_hex(8)}"
        self._put({mine: "0"})  # is taking one
        try:
            number = 1 + max(map(int, self._beginning(TURN).values()))
            self._put({mine: str(number)})
            end = time.monotonic() + LONGEST_TURN
            while before := [
                key
                for key, other in self._beginning(TURN).items()
                if key != mine and (other == "0" or (int(other), key) < (number, mine))
            ]:
                if time.monotonic() > end:
                    self._drop(before)
                time.sleep(TURN_PAUSE)
            yield
        finally:
            self._drop([mine])

    def _create(self) -> None:
        from pymilvus import DataType

        texts: dict[str, dict[str, Any]] = {"key": {"is_primary": True}, "value": {}}
        feature, index = (DataType.FLOAT_VECTOR, 2), {"index_type": "AUTOINDEX"}
        self.server.create(self.collection, texts, feature, index, shards=1)

    def _store(self, key: str, text: str) -> None:
        starts = range(0, len(text), LONGEST_TEXT_BYTES)
        parts = [text[start : start + LONGEST_TEXT_BYTES] for start in starts]
        self._put({f"{key} {i:03d}": part for i, part in enumerate(parts)})

    def _put(self, texts: Mapping[str, str]) -> None:
        rows = [{"key": key, "value": text, "feature": [1, 0]} for key, text in texts.items()]
        self.server.ask(self.server.client.upsert, self.collection, rows)

    def _drop(self, keys: Sequence[str]) -> None:
        condition = f"key in {json.dumps(keys)}"
        self.server.ask(self.server.client.delete, self.collection, filter=condition)

    def _beginning(self, start: str) -> dict[str, str]:
        """Return {key: text} of the rows whose keys begin so."""
        condition = f"key like {json.dumps(f'{start}%')}"
        rows = self.server.query(self.collection, condition, ["key", "value"])
        return {str(row["key"]): str(row["value"]) for row in rows}


def _messages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (
        names[start : start + MARKS_OF_MESSAGE] for start in range(0, len(names), MARKS_OF_MESSAGE)
    )
