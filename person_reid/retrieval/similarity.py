"""Cosine similarities and Euclidean distances, in float32 and in chunks of queries.

Evaluations compute them nowhere else, except in re-ranking.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from person_reid.arrays import Integers, check_features, row_hashes
from person_reid.config.evaluate import DISTANCE_NAMES
from person_reid.device import available_cores
from person_reid.errors import UserError
from person_reid.progress import progress
from person_reid.registration import Registry

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

CHUNK_BYTES = 2**28  # float32 scores at a time, per thread; smaller products are slower
MOST_CHUNK_ROWS = 512
MOST_THREADS = 4
Features = npt.NDArray[np.float32]  # (images, dimension)
Floats = npt.NDArray[np.float32]  # of any other shape
Compare = Callable[[Features, Features], Any]
MakeScores = Callable[..., "Scores"]  # (query, gallery, device) → Scores
T = TypeVar("T")
blas_threads = cache(ThreadpoolController)  # finding the libraries takes milliseconds


def unit_rows(features: Features) -> Features:
    """Return features (N, D) with rows of norm 1.

    Returns the same array if the rows already have norm 1, as in the files of test.py.
    """
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))
    if np.all(np.abs(norms - 1) < 1e-5):
        return features
    return features / norms[:, None]


def unit_rows_or_zeros(features: Features) -> Features:
    """Return features (N, D) with rows of norm 1; rows of zeros do not change."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), np.float32)


def positions(sizes: Integers) -> Integers:
    """Return numbers that count from 0 within each of several consecutive groups.

    For example, sizes 2, 1 and 3 give [0, 1, 0, 0, 1, 2].
    """
    starts = sizes.cumsum() - sizes
    return np.arange(sizes.sum()) - np.repeat(starts, sizes)


def check_dimensions(query: npt.NDArray[Any], gallery: npt.NDArray[Any], source: str = "") -> None:
    """Raise a UserError unless features (Q, D) and (G, D) have the same D.

    source: the beginning of the message.
    """
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"{source}query features have {query.shape[1]} dimensions, "
            f"gallery features {gallery.shape[1]}; expected the same network for both."
        )


def check_comparable(query: npt.NDArray[Any], gallery: npt.NDArray[Any]) -> None:
    """Raise UserError if the gallery's features (G, D) cannot be ranked for the queries' (Q, D)."""
    check_features(query, "query")
    check_features(gallery, "gallery")
    check_dimensions(query, gallery)


def twins(features: Features) -> tuple[Integers, Integers]:
    """Return (later, first): the features' repeated rows, and the earlier rows that they equal.

    features: (N, D). Repeated rows are equal bit for bit.
    """
    _, which, counts = np.unique(row_hashes(features), return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[which] > 1)  # only these few rows are compared byte by byte
    rows = np.ascontiguousarray(features[alike])
    _, first, which = np.unique(
        rows.view(np.dtype((np.void, rows.strides[0]))).ravel(),
        return_index=True,
        return_inverse=True,
    )
    earlier = alike[first][which]
    later = earlier < alike
    return alike[later], earlier[later]


class Scores:
    """The scores that a ranking sorts by, computed chunk by chunk; higher means nearer.

    budget: the most bytes that a chunk may take.
    """

    budget: int = CHUNK_BYTES

    def __call__(self, start: int, stop: int) -> Any:
        """Return the scores of queries `start` to `stop`, float32 (stop - start, G).

        They are a NumPy array, or a torch tensor on an accelerator. The caller may overwrite them.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class PreparedGallery:
    """A gallery's factor in the scores, and its duplicates, reused for each query.

    Finding the duplicates takes several times as long as multiplying by a single query.
    """

    factor: Features
    later: Integers
    first: Integers

    def __len__(self) -> int:
        return len(self.factor)


class CosineScores(Scores):
    """Cosines between queries (Q, D) and gallery (G, D), computed on request.

    Identical images get the same score.

    gallery: the features, or the result of `prepared`.
    device: an accelerator's torch.device; NumPy computes if it is None or the CPU.
    """

    query: Any  # an array, or a tensor on the accelerator
    gallery: Any

    def __init__(
        self,
        query: Features,
        gallery: Features | PreparedGallery,
        device: torch.device | None = None,
    ) -> None:
        if not isinstance(gallery, PreparedGallery):
            gallery = self.prepared(gallery)
        self.query = self.query_factor(query)
        self.gallery = gallery.factor
        self.later, self.first = gallery.later, gallery.first
        if device is not None and device.type != "cpu":
            import torch

            # The first product in each thread of run_chunks warns; cuBLAS then creates the context.
            warnings.filterwarnings(
                "ignore", "Attempting to run cuBLAS, but there was no current CUDA context"
            )
            self.query, self.gallery = (
                torch.from_numpy(each).to(device) for each in (self.query, self.gallery)
            )
        self.shape = (len(query), len(gallery))

    @classmethod
    def prepared(cls, gallery: Features) -> PreparedGallery:
        """Return the PreparedGallery of features (G, D), shared by all scores for this gallery."""
        factor = cls.gallery_factor(gallery)
        return PreparedGallery(factor, *twins(factor))

    @staticmethod
    def query_factor(query: Features) -> Features:
        """Return the array whose product with the gallery's transpose gives the scores."""
        return unit_rows(query)

    @staticmethod
    def gallery_factor(gallery: Features) -> Features:
        """Return the gallery's array for the product; see query_factor."""
        return unit_rows(gallery)

    def __call__(self, start: int, stop: int) -> Any:
        """Return the cosines of queries `start` to `stop`, float32 (stop - start, G)."""
        chunk = self.query[start:stop] @ self.gallery.T
        if len(self.later):  # BLAS may round equal columns differently
            chunk[:, self.later] = chunk[:, self.first]
        return chunk


class EuclideanScores(CosineScores):
    """Scores that rank the gallery (G, D) by Euclidean distance to the queries (Q, D).

    The features may have any length.

    q·g − |g|²/2 = (|q|² − |q − g|²)/2, where |q|² is the same for the whole gallery.
    """

    @staticmethod
    def query_factor(query: Features) -> Features:
        """Return the queries with a column of ones."""
        return np.column_stack([query, np.ones_like(query[:, 0])])

    @staticmethod
    def gallery_factor(gallery: Features) -> Features:
        """Return the gallery with a column of −|g|²/2."""
        return np.column_stack([gallery, -np.einsum("nd,nd->n", gallery, gallery) / 2])


class OwnScores(Scores):
    """Scores from your own function: compare(queries (B, D), gallery (G, D)) → (B, G)."""

    def __init__(
        self,
        compare: Compare,
        query: Features,
        gallery: Features,
        device: torch.device | None = None,
    ) -> None:
        self.compare, self.query = compare, query
        self.gallery = gallery
        self.shape = (len(query), len(gallery))

    def __call__(self, start: int, stop: int) -> Floats:
        """Return the scores of queries `start` to `stop`, float32 (stop - start, G)."""
        found = np.array(self.compare(self.query[start:stop], self.gallery), np.float32)
        if found.shape != (stop - start, len(self.gallery)):
            raise UserError(
                f"The distance gives {found.shape}; expected a score for each pair, "
                f"{(stop - start, len(self.gallery))}."
            )
        return found


DISTANCES: Registry[MakeScores] = Registry(
    "distance", {"cosine": CosineScores, "euclidean": EuclideanScores}, DISTANCE_NAMES
)


def register_distance(name: str, compare: Compare) -> None:
    """Register a comparison of features under a name for --distance.

    compare: (queries (B, D), gallery (G, D)) → scores (B, G), all NumPy arrays; a higher score
        means nearer. It is called for a few queries at a time, in several threads.
    """
    DISTANCES.register(name, partial(OwnScores, compare))


def distance_words(name: str) -> str:
    """Return the name of a distance for a line of metrics, or "" for the cosine."""
    if name == "cosine":
        return ""
    return "Euclidean distance" if name == "euclidean" else f"distance {name}"


def chunks(shape: tuple[int, int], budget: int = CHUNK_BYTES) -> list[tuple[int, int]]:
    """Split the rows of a float32 matrix into (start, stop) chunks.

    Each chunk has at most `budget` bytes, or a single row. The chunks have the same size, and each
    thread gets the same number of them, so that no thread waits for the last chunk.
    """
    rows = max(1, min(MOST_CHUNK_ROWS, budget // (4 * max(shape[1], 1))))
    threads = thread_count()
    rounds = math.ceil(shape[0] / (rows * threads))
    ends = np.linspace(0, shape[0], min(rounds * threads, shape[0]) + 1).astype(int).tolist()
    return list(itertools.pairwise(ends))


def on_cpu(values: Any) -> npt.NDArray[Any]:
    """Return an array, or a tensor on any device, as a NumPy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def row_minima(scores: Any) -> npt.NDArray[Any]:
    """Return the smallest entry in each row of an array or tensor (B, G), as (B,).

    The result is NaN if the row contains NaN.
    """
    return (
        scores.min(axis=1, initial=np.inf)
        if isinstance(scores, np.ndarray)
        else on_cpu(scores.amin(1))
    )


def thread_count() -> int:
    """Return the number of chunks to process at once."""
    return min(MOST_THREADS, available_cores())


def run_chunks(
    work: Callable[[int, int], T], spans: Collection[tuple[int, int]], description: str
) -> list[T]:
    """Return work(start, stop) for every span, computed in a few threads.

    One chunk is counted while another is multiplied. The threads divide up the cores, because two
    products that each used all cores would wait for each other.
    """
    threads = thread_count()
    each = max(1, available_cores() // threads)
    with blas_threads().limit(limits=each, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda span: work(*span), spans)
        return list(progress(results, total=len(spans), desc=description, unit="chunk"))
