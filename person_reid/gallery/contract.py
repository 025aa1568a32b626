"""The interface that index files and all other gallery engines implement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from person_reid.gallery.metadata import EVERYTHING, About, Filter, Found, filters_of
from person_reid.retrieval.similarity import Features

Image = tuple[Path, About]
TRACK_RECORDS = "tracks"  # the kind of note that track_records.py stores
DECISIONS = "decided"  # the kind of the notes {SOURCE/TRACK: whether it has a name}
ASKED_AT_ONCE = 500  # images per filter


class ReadGallery(Protocol):
    """The methods for reading and searching a gallery."""

    @property
    def path(self) -> str | Path:
        """The address of the gallery, as it was given."""

    def __len__(self) -> int:
        """Return the number of images."""

    def width(self) -> int | None:
        """Return the dimension of the features, or None if there are no images."""

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return the k images most similar to each query (Q, D), nearest first."""

    def entries(self, which: Filter = EVERYTHING) -> Iterator[tuple[list[Image], Features]]:
        """Yield the images and their features (n, D), in chunks."""

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[Image]]:
        """Yield the images in chunks, without features."""
        return (images for images, _ in self.entries(which))

    def listed(self, which: Filter = EVERYTHING, after: str = "") -> Iterator[tuple[str, Image]]:
        """Yield the images, each with a key after which a later call resumes.

        That call yields every image that this one has not yielded, whatever was added or forgotten
        meanwhile. after: a key, or "" for all images. Raises ValueError for another text.
        """
        keys = ((str(image[0]), image) for some in self.images(which) for image in some)
        return ((key, image) for key, image in sorted(keys, key=itemgetter(0)) if key > after)

    def abouts(self, paths: Sequence[Path]) -> dict[Path, About]:
        """Return {path: facts} for the given paths that are in the gallery."""
        every = (self.images(some) for some in filters_of(paths, ASKED_AT_ONCE))
        return {path: about for found in every for images in found for path, about in images}

    def values(self, name: str) -> list[str]:
        """Return the distinct values of the column `name`, in alphabetical order."""
        found = {getattr(about, name) for images in self.images() for _, about in images}
        return sorted(filter(None, found))


class Gallery(ReadGallery, Protocol):
    """The gallery methods that the commands use; a custom engine derives from this class.

    Paths identify images, features are rows of unit length, and every method raises UserError for
    faults that a user can fix. Methods with a body below can be inherited. docs/extending.md shows
    an engine; tests/gallery/test_contract.py tests every engine.
    """

    @property
    def new(self) -> bool:
        """Whether the gallery was empty when it was opened."""

    @property
    def file(self) -> Path | None:
        """The local file beside which the crops of tracks are stored, or None."""
        return None

    @property
    def owner(self) -> str:
        """The text that marks the folder of crops as this gallery's; a copy has another one."""
        return Path(self.path).name

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add or replace N images; see SearchIndex.add."""

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record facts about images in the gallery, and return the number of images."""

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that are not in the gallery, or whose files have changed."""

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images and return how many there were; see SearchIndex.forget."""

    def forget_at_once(self, which: Filter, asked: str) -> int:
        """Delete images without waiting for readers of the old state to finish; see `settled`."""
        return self.forget(which, asked)

    def settled(self) -> bool:
        """Return whether forgotten data is gone from every file: False while a search reads it."""
        return True

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store the values whose keys are new, and return the stored values of all given keys."""

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""

    def note(self, kind: str, notes: Mapping[str, Any]) -> None:
        """Store notes {name: JSON}; each replaces an earlier note of the same kind and name."""

    def notes(self, kind: str) -> dict[str, Any]:
        """Return the notes of one kind, oldest first.

        Notes of the kind TRACK_RECORDS are named after sources, and those of the kind DECISIONS
        SOURCE/TRACK. `forget` deletes a source's notes together with the source's last image.
        """

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the `keys` (see forgetting.py) that belong to forgotten images or tracks."""
        return set()

    def allow(self, keys: Sequence[bytes]) -> None:
        """Allow forgotten images to be added again."""
        return

    def prepare(self) -> None:
        """Do the work that would otherwise slow down the next search."""
        return

    def interrupt(self) -> None:
        """Cancel what other threads wait for, if the engine can; their calls raise StoreError."""
        return

    def close(self) -> None:
        """Release files and connections."""
        return
