"""Give an index the features of another network; all that is known of its images stays.

reindex_images(index, ReindexConfig(index="people.index", name="better"))
"""

from contextlib import closing
from pathlib import Path

from person_reid.config.search import ReindexConfig
from person_reid.errors import UserError
from person_reid.gallery.image_table import next_file
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import NETWORK_NOTES, open_network
from person_reid.gallery.indexing import add_images
from person_reid.text import as_command, counted


def reindex_images(index: SearchIndex, config: ReindexConfig) -> int:
    """Replace the features of an index by those of the network that the options name.

    The new ones are gathered in a file beside it, where an interrupted run goes on; until all are
    there, the index stays as it is. Images that others add meanwhile join in. Returns their number.

    Raises UserError if images have changed or are gone.
    """
    paths = unchanged_images(index)
    place = next_file(index.path)
    with closing(SearchIndex(place, index.store.codes)) as following:
        try:
            embedder = open_network(following, config)
        except UserError as error:
            if not len(following):
                following.remove()
                raise
            raise UserError(
                f"{error} To begin anew instead of going on with what is in it, delete {place}."
            ) from error
        add_images(following, embedder, paths)
        while not index.take_features(following, NETWORK_NOTES):
            paths = unchanged_images(index)
            add_images(following, embedder, paths)
        following.remove()
    return len(paths)


def unchanged_images(index: SearchIndex) -> list[Path]:
    """Return the images of an index. Raises UserError if files have changed or are gone."""
    paths = [path for images in index.images() for path, _ in images]
    if changed := index.missing(paths):
        raise UserError(
            f"{index.path}: {counted(len(changed), 'image')} changed or gone since indexed, such "
            f"as {changed[0]}. Beforehand, index those that changed with the network of the index, "
            f"and name what moved or forget the rest: {as_command('tools/gallery.py')} relocate, "
            "prune"
        )
    return paths
