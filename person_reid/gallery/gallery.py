"""A gallery by its address: a file of this machine, or a server for one that outgrows it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from person_reid.basics import UserError
from person_reid.gallery.about import EVERYTHING, About, Filter
from person_reid.gallery.index import Found, SearchIndex
from person_reid.gallery.milvus import SCHEME, MilvusGallery
from person_reid.retrieval.similarity import Features


class Gallery(Protocol):
    """What every gallery does; SearchIndex has the shapes and the errors."""

    @property
    def path(self) -> str | Path:
        """Its address."""

    def __len__(self) -> int: ...
    def close(self) -> None: ...
    def prepare(self) -> None: ...
    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def recall(self, key: str) -> Any: ...
    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]: ...
    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None: ...
    def describe(self, abouts: Mapping[Any, About]) -> int: ...
    def entries(self, which: Filter = EVERYTHING) -> Iterator[tuple[list[tuple[Path, About]], Features]]: ...
    def search(self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING) -> list[list[Found]]: ...
    def forget(self, which: Filter, asked: str) -> int: ...


def open_gallery(place: str, new: bool = True) -> Gallery:
    """Return the gallery at an address: a file, or milvus://HOST:PORT/NAME.

    new: it may be a new one; otherwise raises UserError if there is none.
    """
    if place.startswith(SCHEME):
        cluster = MilvusGallery(place)
        if new or cluster.exists():
            return cluster
    elif new or Path(place).is_file():
        return SearchIndex(place)
    raise UserError(f"{place}: no such index. Make one: python tools/search.py index FOLDER --index FILE")
