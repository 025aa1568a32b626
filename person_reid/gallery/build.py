"""Fill a SearchIndex with images and ask it: what tools/search.py does, for use from Python.

index = SearchIndex("people.index")
embedder = Embedder("ft_ResNet50")
check_network(index, embedder, {"name": "ft_ResNet50"})
add_images(index, embedder, paths)
answers = index.search(embedder(["someone.jpg"]), k=10)
"""

from pathlib import Path
from typing import Any

import numpy as np

from person_reid.basics import UserError, progress
from person_reid.data.layout import list_images
from person_reid.deploy.embedder import Embedder
from person_reid.gallery.index import SearchIndex

CHUNK = 512  # images added in one transaction
SAME = 0.999  # the least similarity of one image's features by the same network, as it was and as it is


def check_network(index: SearchIndex, embedder: Embedder, flags: dict[str, Any]) -> None:
    """Make sure that an index holds features of one network: of this embedder, or it raises UserError.

    The embedder is asked for the feature of one made-up image, which the index keeps. flags: {flag of test.py: value}
    that name the network, which a new index remembers.
    """
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    probe = embedder([noise])[0]
    known = index.recall("probe")
    if known is None:
        index.remember("network", flags)
        index.remember("probe", probe.tolist())
    elif len(known) != len(probe) or probe @ np.array(known) < SAME:
        raise UserError(
            f"{index.path}: its features were made by another network ({_words(index.recall('network'))}), or its "
            "weights have changed since. Index the images anew: --index ANOTHER_FILE"
        )


def add_images(index, embedder, paths):
    """Add those of the images that the index does not hold, or that have changed. Returns how many.

    They are added CHUNK by CHUNK, each of which is on the disk before the next begins. Raises UserError naming all
    images of a chunk that cannot be read; the chunks before it stay.
    """
    paths = index.missing(paths)
    with progress(total=len(paths), desc="indexing", unit=" images") as bar:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            index.add(chunk, embedder(chunk))
            bar.update(len(chunk))
    return len(paths)


def find_images(places):
    """The absolute paths of images: files as they are, folders by all images below them. Raises UserError for none."""
    found = []
    for place in map(Path, places):
        images = list_images(place) if place.is_dir() else [place]
        if not images or not place.exists():
            raise UserError(f"{place}: {'no images in it' if place.is_dir() else 'no such image or folder'}.")
        found += [image.resolve() for image in images]
    return found


def describe_answers(queries, answers, threshold):
    """The answers as plain values for a JSON file: for every query whether it is known, and its matches."""
    return [
        {
            "image": str(query),
            "known": any(match.similarity >= threshold for match in found),
            "matches": [
                {"image": str(match.path), "similarity": match.similarity, "accepted": match.similarity >= threshold}
                for match in found
            ],
        }
        for query, found in zip(queries, answers, strict=True)
    ]


def _words(flags):
    return flags.get("engine") or (
        f"{flags['backbone']} {flags['weights']}" if flags.get("backbone") else flags["name"]
    )
