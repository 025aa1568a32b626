"""When and where people were seen, by the images of a gallery.

for seen in sightings(gallery, Filter(identity="Anna")):
    print(seen.about.camera, seen.first, seen.last, len(seen.images))
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from person_reid.config.times import parsed
from person_reid.gallery.contract import ReadGallery
from person_reid.gallery.metadata import EVERYTHING, About, Filter

APART = 60  # seconds between images of a person who was away in the meantime


class Sighting(NamedTuple):
    """A person before a camera.

    about: identity, camera, track and source of its images. images: in the order of their times.
    first, last: seconds since 1970, or None for images without a time.
    """

    about: About
    images: list[Path]
    first: float | None = None
    last: float | None = None


def sightings(gallery: ReadGallery, which: Filter = EVERYTHING) -> list[Sighting]:
    """Return the images of a gallery as sightings, the earliest first and those without time last.

    A track is one sighting. Other images of a person are one while less than APART seconds pass.
    """
    groups: dict[About, list[tuple[float | None, Path]]] = defaultdict(list)
    for images in gallery.images(which):
        for path, about in images:
            seconds = parsed(about.time).timestamp() if about.time else None
            groups[about._replace(time=None, more=None)].append((seconds, path))
    found = [seen for about, images in groups.items() for seen in _seen(about, images)]
    return sorted(found, key=lambda seen: (seen.first is None, seen.first))


def _seen(about: About, images: list[tuple[float | None, Path]]) -> Iterator[Sighting]:
    """Yield the sightings of images with the same facts."""
    timed = sorted((seconds, path) for seconds, path in images if seconds is not None)
    if untimed := [path for seconds, path in images if seconds is None]:
        yield Sighting(about, untimed)
    seconds, paths = [each for each, _ in timed], [path for _, path in timed]
    ends = (
        []
        if about.track
        else [place for place, (one, two) in enumerate(pairwise(seconds), 1) if two - one >= APART]
    )
    for start, end in pairwise([0, *ends, len(timed)]):
        if start < end:
            yield Sighting(about, paths[start:end], seconds[start], seconds[end - 1])
