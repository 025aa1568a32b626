"""What a gallery does, and how one is opened by its address: a file, or an engine by its scheme."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from person_reid.errors import UserError
from person_reid.gallery.index import Found, SearchIndex
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.gallery.milvus import MilvusGallery
from person_reid.gallery.milvus_server import SCHEMES
from person_reid.registration import Registry
from person_reid.retrieval.similarity import Features
from person_reid.text import as_command, did_you_mean

Image = tuple[Path, About]


class ReadGallery(Protocol):
    """What is asked of a gallery that is only read and searched."""

    @property
    def path(self) -> str | Path:
        """The address, as it was given."""

    def __len__(self) -> int:
        """Return the number of images."""

    def width(self) -> int | None:
        """Return the number of values of a feature, or None without images."""

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return for each query (Q, D) the k most similar images, nearest first."""

    def entries(self, which: Filter = EVERYTHING) -> Iterator[tuple[list[Image], Features]]:
        """Yield the images in chunks, and their features (n, D)."""

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[Image]]:
        """Yield the images in chunks, without their features."""
        return (images for images, _ in self.entries(which))

    def values(self, name: str) -> list[str]:
        """Return the values of a column of About that some image has, in alphabetical order."""
        found = {getattr(about, name) for images in self.images() for _, about in images}
        return sorted(filter(None, found))


class Gallery(ReadGallery, Protocol):
    """What the commands ask of a gallery; an engine of one's own derives from it.

    Images are known by their paths, features are rows of unit length, and every method raises
    UserError for what a person can mend. Methods with a body below need not be written again.
    docs/extending.md shows an engine of thirty lines; tests/gallery/test_contract.py holds for all.
    """

    @property
    def new(self) -> bool:
        """Whether nothing had been stored there when it was opened."""

    @property
    def file(self) -> Path | None:
        """The file on this machine beside which the images of tracks are cut, if it is one."""
        return None

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add or replace N images: see SearchIndex.add."""

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record what is known of images that are there, and return how many are."""

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that are not there, or whose files have changed."""

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images and return how many there were: see SearchIndex.forget."""

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values under keys that hold none yet, and return what the keys hold."""

    def recall(self, key: str) -> Any:
        """Return what a key holds, or None."""

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of some keys, see forgotten.py, of which something was forgotten."""
        return set()

    def allow(self, keys: Sequence[bytes]) -> None:
        """Let what was forgotten come back."""
        return

    def prepare(self) -> None:
        """Do what would otherwise slow the next search down."""
        return

    def remove(self) -> None:
        """Delete the gallery."""
        return

    def close(self) -> None:
        """Release files and connections."""
        return


Opener = Callable[[str], Gallery]
# by the scheme of an address: "milvus" opens milvus://localhost:19530/people
GALLERIES: Registry[Opener] = Registry("gallery", dict.fromkeys(SCHEMES, MilvusGallery))


def register_gallery(scheme: str, opener: Opener) -> None:
    """Open the galleries whose addresses begin with SCHEME: by opener(address)."""
    GALLERIES.register(scheme, opener)


def scheme_of(place: str) -> str:
    """Return the registered scheme with which an address begins, or "" for the path of a file."""
    scheme, colon, rest = str(place).partition(":")
    if scheme not in GALLERIES and rest.startswith("//"):
        raise UserError(f"{place}: no gallery {scheme!r}. There are: {', '.join(GALLERIES)}.")
    return scheme if colon and scheme in GALLERIES else ""


def file_at(place: str) -> Path | None:
    """Return the file that an address names, or None if an engine keeps the gallery elsewhere."""
    return None if scheme_of(place) else Path(place)


def open_gallery(place: str, new: bool = True, codes: str | None = None) -> Gallery:
    """Return the gallery at an address: a file, or SCHEME://..., such as milvus://HOST:PORT/NAME.

    new: make the gallery if it does not exist; otherwise a UserError says how to make it.
    codes: how a new file holds features, see SearchIndex.
    """
    if scheme := scheme_of(place):
        if codes:
            raise UserError(f"{place}: --codes is for files; {scheme} has its own settings.")
        gallery = GALLERIES[scheme](place)
        if new or not gallery.new:
            return gallery
    elif new or Path(place).exists():
        return SearchIndex(place, codes)
    raise UserError(
        f"{place}: no such index. Make one: "
        f"{as_command('tools/search.py')} index FOLDER --index FILE"
    )


@contextmanager
def growing_gallery(place: str, codes: str | None = None) -> Iterator[Gallery]:
    """Yield the gallery at an address, and make it if it does not exist; codes: see open_gallery.

    If the block fails before any image is in a new one, nothing of it stays.
    """
    gallery = open_gallery(place, codes=codes)
    try:
        yield gallery
    except BaseException:
        if gallery.new and not len(gallery):
            gallery.remove()
        raise


def nobody_has(gallery: ReadGallery, which: Filter) -> list[str]:
    """Return a sentence for each value of a filter that no image of a gallery has.

    It names the nearest value that some image has, or else what there is.
    """
    names = ("identity", "camera", "track", "source")
    asked = {name: value for name in names if (value := getattr(which, name)) is not None}
    sentences = []
    for name, value in asked.items():
        known = gallery.values(name)
        if value not in known:
            listing = f" There are: {', '.join(known[:20])}." if known else ""
            near = did_you_mean(value, known) or listing
            sentences.append(f"No image has the {name} {value}.{near}")
    return sentences
