"""Add the people of a track file to an index.

with growing_gallery("people.index") as index:
    added = index_tracks(index, IndexConfig(index="people.index", tracks="hall.txt", ...))
"""

from pathlib import Path
from typing import NamedTuple

from person_reid.config.search import IndexConfig
from person_reid.data.video.crops import choose_boxes, cut_boxes, cut_images, within
from person_reid.deploy.embedder import Embedder
from person_reid.gallery.forgetting import tracks_not_forgotten
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_network import open_network
from person_reid.gallery.indexing import add_images
from person_reid.gallery.track_records import describe_tracks, record_tracks


class AddedTracks(NamedTuple):
    """How many tracks of a camera were added, with how many images, new and known ones."""

    camera: str
    tracks: int
    new: int
    known: int


def index_tracks(
    index: Gallery, config: IndexConfig, embedder: Embedder | None = None
) -> AddedTracks:
    """Add some images of each track of a file, which are cut from its frames.

    embedder: the network of the index; opened if it is not given.
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
