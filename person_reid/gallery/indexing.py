"""Add images, or the people in a track file, to an index, as tools/search.py does.

embedder = Embedder("ft_ResNet50")
index = SearchIndex("people.index", network=embedder)
add_images(index, embedder, paths)
answers = index.search(embedder(["someone.jpg"]), k=10)
added = index_tracks(index, IndexConfig(index="people.index", tracks="hall.txt", ...))
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from person_reid.config.search import IndexConfig
from person_reid.data.images.image_decoding import decodable
from person_reid.data.layout import list_images
from person_reid.data.video.crops import choose_boxes, cut_boxes, cut_images, within
from person_reid.errors import UserError
from person_reid.files import real, shipped
from person_reid.gallery.checks import state_of
from person_reid.gallery.forgetting import tracks_not_forgotten
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index import Found
from person_reid.gallery.indexed_network import open_network
from person_reid.gallery.metadata import About
from person_reid.gallery.track_records import describe_tracks, record_tracks
from person_reid.progress import progress
from person_reid.retrieval.thresholds import judged

if TYPE_CHECKING:  # an index can be opened without PyTorch
    from person_reid.deploy.embedder import Embedder

FIRST_CHUNK, LARGEST_CHUNK = 512, 8192  # images per transaction: at first, and at most
VIDEO_SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv"}
LONGEST_CHUNK_SECONDS = 5  # if a chunk takes less, the next is twice as large


def add_images(
    index: Gallery,
    embedder: "Embedder",
    paths: Iterable[str | Path],
    abouts: Mapping[Any, About] | None = None,
    skip_unreadable: bool = False,
) -> int:
    """Add new and changed images to the index, with the facts about them.

    Returns their number.

    Each chunk of images is on disk before the next begins: FIRST_CHUNK images, or more on a fast
    machine. Raises a UserError that names all unreadable images of a chunk; earlier chunks stay in
    the index.

    skip_unreadable: log and skip such images. Every new image is then decoded twice, and UserError
    is raised only if the index would stay empty.
    """
    missing = new = index.missing(paths)
    if skip_unreadable:
        missing = [*decodable(list(map(Path, new)))]
        if new and not missing and not len(index):
            raise UserError(f"{index.path}: none of the images can be read, so it stays empty.")
    done, size = 0, FIRST_CHUNK
    with progress(total=len(missing), desc="indexing", unit=" images") as bar:
        while chunk := missing[done : done + size]:
            began = time.monotonic()
            # read now, so that a file that changes during reading counts as missing next time
            states = list(map(state_of, chunk))
            index.add(chunk, embedder(chunk), abouts, states)
            bar.update(len(chunk))
            done += len(chunk)
            if time.monotonic() - began < LONGEST_CHUNK_SECONDS:
                size = min(2 * size, LARGEST_CHUNK)
    return len(missing)


def find_images(places: Iterable[str | Path]) -> list[Path]:
    """Return the absolute paths of image files and of all images below folders, each once.

    places: files and folders. Raises UserError for a missing file, a folder without images, or a
    video, which other commands read.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_file() and place.suffix.lower() in VIDEO_SUFFIXES:
            raise UserError(
                f"{place}: a video. Index the people that a tracker found in it, with "
                f"--tracks FILE: {shipped('docs/your-tracker.md')} says how."
            )
        images = list_images(place) if place.is_dir() else [place]
        if not images or not place.exists():
            raise UserError(
                f"{place}: {'no images in it' if place.is_dir() else 'no such image or folder'}."
            )
        found += [real(image) for image in images]
    return list(dict.fromkeys(found))


def describe_answers(
    queries: list[Path], answers: list[list[Found]], threshold: float | None
) -> list[dict[str, Any]]:
    """Return the answers as JSON values, with each query and its matches.

    Without a threshold, `known` and `accepted` are null.
    """
    described = []
    for query, found in zip(queries, answers, strict=True):
        known, accepted = judged(threshold, [match.similarity for match in found])
        matches = [
            {"image": str(match.path), "similarity": match.similarity, "accepted": fits}
            | match.about.facts()
            for match, fits in zip(found, accepted, strict=True)
        ]
        described.append({"image": str(query), "known": known, "matches": matches})
    return described


class AddedTracks(NamedTuple):
    """A track file's camera, and its numbers of tracks, new images and known images."""

    camera: str
    tracks: int
    new: int
    known: int


def index_tracks(
    index: Gallery, config: IndexConfig, embedder: "Embedder | None" = None
) -> AddedTracks:
    """Add a few images of each track in a file, cut from its frames.

    embedder: the network of the index; by default, it is opened here.
    """
    record, frames, tracks = describe_tracks(index, config)
    tracks = tracks_not_forgotten(
        index, record.source, within(tracks, frames), config.allow_forgotten
    )
    embedder = embedder or open_network(index, config)
    record_tracks(index, record)

    folder = Path(record.crops)
    cut_boxes(frames, choose_boxes(tracks, frames.size, config.per_track, folder), folder)
    crops = cut_images(folder, tracks)

    new = index.missing(crops)
    abouts = record.about(crops, frames)
    count = add_images(index, embedder, new, abouts, config.skip_unreadable)
    index.describe(abouts)
    return AddedTracks(record.camera, len(tracks), count, len(crops) - len(new))
