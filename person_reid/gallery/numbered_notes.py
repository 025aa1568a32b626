"""What a gallery remembers under a name and a number: `tracks 1`, `tracks 2`, and so on."""

from collections.abc import Iterator
from itertools import count, takewhile
from typing import Any

from person_reid.gallery.contract import Gallery

TRACK_RECORDS = "tracks"  # the name of what track_records.py keeps


def note_key(name: str, number: int) -> str:
    """Return the key of a note, counted from 1."""
    return f"{name} {number}"


def numbered_notes(index: Gallery, name: str) -> Iterator[Any]:
    """Yield the notes of a name, the earliest first."""
    notes = (index.recall(note_key(name, number)) for number in count(1))
    return takewhile(lambda note: note is not None, notes)


def add_note(index: Gallery, name: str, note: Any) -> None:
    """Keep a note that no other equals, after the others of its name."""
    number = 1 + sum(1 for _ in numbered_notes(index, name))
    # another process may take a number first
    while index.remember({note_key(name, number): note})[note_key(name, number)] != note:
        number += 1
