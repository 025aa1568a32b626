"""A gallery in which the features of all cameras have the same mean.

    index = NormalizedGallery(open_gallery("people.index", new=False))
    answers = index.search(index.normalized(features, ["3"]), k=10)

The same person then looks more alike in two cameras. All images are compared, because inverted
lists hold the original features.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError
from person_reid.gallery.checks import check_count, checked_features
from person_reid.gallery.contract import Image, ReadGallery
from person_reid.gallery.metadata import EVERYTHING, Filter, Found
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.similarity import Features
from person_reid.text import as_command

MOST_FITTED = 100_000  # images from which the means are estimated


class NormalizedGallery(ReadGallery):
    """A gallery for reading and searching, with features changed by CameraNorm.

    Images without a camera are normalised with the statistics of all images. Raises UserError if no
    image has a camera.
    """

    def __init__(self, gallery: ReadGallery) -> None:
        self.gallery = gallery
        step = max(1, len(gallery) // MOST_FITTED)
        cameras: list[str] = []
        parts = []
        for images, features in gallery.entries():
            known = [i for i in range(0, len(images), step) if images[i][1].camera]
            cameras += [images[i][1].camera or "" for i in known]
            parts.append(features[known])
        if not cameras:
            raise UserError(
                f"{gallery.path}: camera_norm needs the cameras of the images. Give them: "
                f"{as_command('tools/search.py')} index FOLDER --about CSV --index FILE"
            )
        self.norm = CameraNorm(np.concatenate(parts), cameras)

    @property
    def path(self) -> str | Path:
        """The address of the gallery."""
        return self.gallery.path

    def __len__(self) -> int:
        return len(self.gallery)

    def width(self) -> int | None:
        """Return the dimension of the features."""
        return self.gallery.width()

    def values(self, name: str) -> list[str]:
        """Return the distinct values of the column `name`, in alphabetical order."""
        return self.gallery.values(name)

    def normalized(self, features: npt.NDArray[Any], cameras: Sequence[str | None]) -> Features:
        """Return features (N, D) normalised as in this gallery; None means an unknown camera."""
        features = checked_features(features, self.width(), self.path)
        return self.norm(features, [camera or "" for camera in cameras])

    def entries(self, which: Filter = EVERYTHING) -> Iterator[tuple[list[Image], Features]]:
        """Yield the images and their normalised features (n, D), in chunks."""
        for images, features in self.gallery.entries(which):
            yield images, self.normalized(features, [about.camera for _, about in images])

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return the k images most similar to each normalised query (Q, D), nearest first."""
        check_count(k)
        return nearest_images(queries, self.entries(among), k)


def nearest_images(
    queries: Features, entries: Iterable[tuple[Sequence[Image], Features]], k: int
) -> list[list[Found]]:
    """Return the k images most similar to each query (Q, D), nearest first.

    entries: chunks of images with features (n, D). Equally similar images keep their order.
    """
    answers: list[list[Found]] = [[] for _ in queries]
    for images, features in entries:
        found = ExactNeighbours().search(queries, features, min(k, len(features)))
        near = zip(found.indices.tolist(), found.similarities.tolist(), strict=True)
        for answer, (places, similarities) in zip(answers, near, strict=True):
            for place, similarity in zip(places, similarities, strict=True):
                path, about = images[place]
                answer.append(Found(path, similarity, about))
            answer.sort(key=lambda image: -image.similarity)
            del answer[k:]
    return answers
