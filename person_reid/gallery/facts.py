"""Facts about images, their tracks, and sightings of people.

for track, images in one_person_each(paths, gallery.abouts(paths)).items():
    ...
for seen in sightings(gallery, Filter(identity="Anna")):
    print(seen.about.camera, seen.first, seen.last, len(seen.images))
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from person_reid.config.times import parsed
from person_reid.data.video.crops import CROP_NAME, number_and_frame
from person_reid.gallery.contract import ReadGallery
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import EVERYTHING, UNKNOWN_ABOUT, About, Filter

APART = 60  # seconds between images of a person who was away in the meantime


def listed_images(gallery: Gallery, listed: Mapping[Path, About]) -> dict[Path, About]:
    """Return, as {path: facts}, what `listed` says about images in a gallery; see listed_again."""
    known = gallery.abouts([*listed])
    for source in sorted({about.source for about in listed.values() if about.source}):
        for images in gallery.images(Filter(source=source)):
            known.update(images)
    return listed_again(listed, known.items())


def listed_again(
    listed: Mapping[Path, About], images: Iterable[tuple[Path, About]]
) -> dict[Path, About]:
    """Return, as {path: facts}, what `listed` says about the images in a gallery.

    Images may have moved since the list was written. An unknown path then means the image with the
    same source and file name, if there is exactly one.
    """
    paths = set()
    named: dict[tuple[str | None, str], list[Path]] = defaultdict(list)
    for path, about in images:
        paths.add(path)
        if about.source:
            named[about.source, path.name].append(path)
    places = {
        path: [path] if path in paths else named.get((about.source, path.name), [])
        for path, about in listed.items()
    }
    return {place[0]: listed[path] for path, place in places.items() if len(place) == 1}


def one_person_each(paths: Sequence[Path], abouts: Mapping[Path, About]) -> dict[str, list[Path]]:
    """Return {track: its images}; images without a track are grouped under "", as one person.

    The track is one of the facts about an image; if unknown, it is read from the file names that
    `search.py index --tracks` gives to crops.
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(_track(path, abouts.get(path, UNKNOWN_ABOUT)), []).append(path)
    return groups


def _track(path: Path, about: About) -> str:
    """Return a unique name for the track of an image."""
    if about.track:
        return f"track {about.track}" + (f" of {about.source}" if about.source else "")
    if CROP_NAME.fullmatch(path.name):
        return f"track {number_and_frame(path)[0]} in {path.parent}"
    return ""


class Sighting(NamedTuple):
    """One appearance of a person in a camera.

    about: identity, camera, track and source of its images. images: in order of time.
    first, last: seconds since 1970, or None for images without a time.
    """

    about: About
    images: list[Path]
    first: float | None = None
    last: float | None = None


def sightings(gallery: ReadGallery, which: Filter = EVERYTHING) -> list[Sighting]:
    """Return the images in a gallery as sightings, earliest first; untimed ones come last.

    A track is one sighting. Other images of a person form one sighting if they are less than APART
    seconds apart.
    """
    groups: dict[About, list[tuple[float | None, Path]]] = defaultdict(list)
    for images in gallery.images(which):
        for path, about in images:
            seconds = parsed(about.time).timestamp() if about.time else None
            groups[about._replace(time=None, more=None)].append((seconds, path))
    found = [seen for about, images in groups.items() for seen in _seen(about, images)]
    return sorted(found, key=lambda seen: (seen.first is None, seen.first))


def _seen(about: About, images: list[tuple[float | None, Path]]) -> Iterator[Sighting]:
    """Yield the sightings formed by images with the same facts."""
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
