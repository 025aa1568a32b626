"""Fill a SearchIndex with images and search it from Python, as tools/search.py does.

index = SearchIndex("people.index")
embedder = Embedder("ft_ResNet50")
check_network(index, embedder, {"name": "ft_ResNet50"})
add_images(index, embedder, paths)
answers = index.search(embedder(["someone.jpg"]), k=10)
"""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.basics import UserError, real
from person_reid.config.option import NAMED, as_flag
from person_reid.data.decoding import readable
from person_reid.data.layout import list_images
from person_reid.deploy.embedder import Embedder
from person_reid.gallery.checks import SAME, state_of
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index import Found
from person_reid.gallery.metadata import About
from person_reid.progress import progress
from person_reid.retrieval.thresholds import accepts

log = logging.getLogger(__name__)
# flags that say where a network is; whether it is the same, its features tell
MOVABLE = ("name", "weights", "engine")
CHUNK, LARGEST_CHUNK = 512, 8192  # images added in one transaction: at first, and at most
PAUSE = 5  # seconds; as long as a chunk takes less, the next one is twice as large


def check_network(index: Gallery, embedder: Embedder, flags: dict[str, Any]) -> None:
    """Check that the index holds features of this embedder's network, by a synthetic image whose
    feature it keeps.

    flags: {flag of test.py: value} that name the network; a new index remembers them. Raises
    UserError if the index belongs to another network, to other weights, or to other flags.
    """
    probe = embedder.probe()
    if len(index) and index.recall("network") is None:
        log.warning(
            "%s: it does not say which network indexed its %d images. Was it this one?",
            index.path,
            len(index),
        )
    known = index.remember({"network": flags, "probe": probe.tolist()})
    agreed(index, flags)
    if len(known["probe"]) != len(probe) or probe @ np.array(known["probe"]) < SAME:
        raise UserError(
            f"{index.path}: its features were made by another network "
            f"({_words(known['network'])}), or its "
            f"weights have changed since. {_again(index)}"
        )


def agreed(index: Gallery, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of an index's network: those that it remembers, and where `flags` say that
    the network is now.

    Raises UserError, which lists them, for flags that contradict what the index remembers.
    """
    remembered: dict[str, Any] = index.recall("network") or {}
    place = next((name for name in ("engine", "from", "weights") if remembered.get(name)), "name")
    # the name is then only the default
    typed = remembered if place == "name" else remembered | {"name": None}
    wrong = [
        f"{as_flag(name, NAMED)} (remembered: {_value(typed.get(name))}, asked: {_value(value)})"
        for name, value in flags.items()
        if _value(remembered.get(name)) != _value(value) and not (name == place and name in MOVABLE)
    ]
    if remembered and wrong:
        advice = f"Leave them out, or take another index. {_again(index)}"
        raise UserError(f"{index.path}: made with other flags: {', '.join(wrong)}. {advice}")
    return remembered | flags


def add_images(
    index: Gallery,
    embedder: Embedder,
    paths: Iterable[str | Path],
    abouts: Mapping[Any, About] | None = None,
    skip_unreadable: bool = False,
) -> int:
    """Add the images that are new to the index or have changed, and what is known about them.

    Returns their number.

    A chunk of images is on the disk before the next begins: CHUNK images, and more on a fast
    machine. Raises UserError naming all images of a chunk that cannot be read; earlier chunks stay.

    skip_unreadable: list such images and pass over them; every new image is then decoded twice.
    Only an index that would stay empty raises UserError.
    """
    missing = new = index.missing(paths)
    if skip_unreadable:
        missing = [*readable(list(map(Path, new)))]
        if new and not missing and not len(index):
            raise UserError(f"{index.path}: none of the images can be read, so it stays empty.")
    done, size = 0, CHUNK
    with progress(total=len(missing), desc="indexing", unit=" images") as bar:
        while chunk := missing[done : done + size]:
            began = time.monotonic()
            # now: a file that changes while it is read is missing the next time
            states = list(map(state_of, chunk))
            index.add(chunk, embedder(chunk), abouts, states)
            bar.update(len(chunk))
            done += len(chunk)
            if time.monotonic() - began < PAUSE:
                size = min(2 * size, LARGEST_CHUNK)
    return len(missing)


def find_images(places: Iterable[str | Path]) -> list[Path]:
    """Return the absolute paths of image files and of all images below folders, each once.

    Raises UserError if a place has none.
    """
    found: list[Path] = []
    for place in map(Path, places):
        images = list_images(place) if place.is_dir() else [place]
        if not images or not place.exists():
            raise UserError(
                f"{place}: {'no images in it' if place.is_dir() else 'no such image or folder'}."
            )
        found += [real(image) for image in images]
    return list(dict.fromkeys(found))


def describe_answers(
    queries: list[Path], answers: list[list[Found]], threshold: float
) -> list[dict[str, Any]]:
    """Return the answers as plain values for a JSON file: for each query,
    whether it is known, and its matches.
    """
    described = []
    for query, found in zip(queries, answers, strict=True):
        matches = [
            {
                "image": str(match.path),
                "similarity": match.similarity,
                "accepted": accepts(threshold, match.similarity),
            }
            | {name: value for name, value in match.about._asdict().items() if value}
            for match in found
        ]
        known = any(match["accepted"] for match in matches)
        described.append({"image": str(query), "known": known, "matches": matches})
    return described


def _again(index: Gallery) -> str:
    """Return how to go on with another network."""
    return (
        f"Index the images {'again' if len(index) else '(it holds none yet)'}: --index ANOTHER_FILE"
    )


def _words(flags: dict[str, Any]) -> str:
    """Return the network that the flags of test.py name, in words."""
    named = (
        f"{flags['backbone']} {flags.get('weights')}"
        if flags.get("backbone")
        else flags.get("name")
    )
    return str(flags.get("engine") or named)


def _value(value: Any) -> str:
    """Return the value of a flag in words."""
    return "off" if value is None or value is False else "on" if value is True else str(value)
