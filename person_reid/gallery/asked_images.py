"""Facts about the images that somebody asks about, and the tracks among them.

for track, images in one_person_each(paths, gallery.abouts(paths)).items():
    ...
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from person_reid.data.video.crops import CROP_NAME, number_and_frame
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import UNKNOWN_ABOUT, About, Filter


def listed_images(gallery: Gallery, listed: Mapping[Path, About]) -> dict[Path, About]:
    """Return what a list says of the images in a gallery, see listed_again."""
    known = gallery.abouts([*listed])
    for source in sorted({about.source for about in listed.values() if about.source}):
        for images in gallery.images(Filter(source=source)):
            known.update(images)
    return listed_again(listed, known.items())


def listed_again(
    listed: Mapping[Path, About], images: Iterable[tuple[Path, About]]
) -> dict[Path, About]:
    """Return what a list says of images that are there: {path: facts}.

    A list may name a folder that has moved since. An image that is not there by its path is the one
    of the same source and file name, if there is a single one.
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
    """Return {track: its images}; images of no track come under "", as one person.

    What is known of an image says its track, or else its name, as `search.py index --tracks` cuts.
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(_track(path, abouts.get(path, UNKNOWN_ABOUT)), []).append(path)
    return groups


def _track(path: Path, about: About) -> str:
    """Return what tells the track of an image from others, in words."""
    if about.track:
        return f"track {about.track}" + (f" of {about.source}" if about.source else "")
    if CROP_NAME.fullmatch(path.name):
        return f"track {number_and_frame(path)[0]} in {path.parent}"
    return ""
