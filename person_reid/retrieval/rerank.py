"""The ways to re-rank a gallery, and the memory that they take."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from person_reid.basics import LARGEST, SMALLEST, UserError, computable, did_you_mean
from person_reid.config.evaluate import RerankOptions
from person_reid.retrieval.expansion import expanded_scores
from person_reid.retrieval.faiss_neighbours import FaissNeighbours
from person_reid.retrieval.graph import GraphScores
from person_reid.retrieval.graph_dense import DenseGraphScores, matrix_fits
from person_reid.retrieval.k_reciprocal import KReciprocalScores
from person_reid.retrieval.neighbours import ExactNeighbours, NeighbourSearch, check_neighbours
from person_reid.retrieval.similarity import (
    CHUNK_BYTES,
    MOST_ROWS,
    Features,
    Scores,
    check_comparable,
    thread_count,
)

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch


class Method(NamedTuple):
    """A way to re-rank: its Scores, its flags with their published values, and the
    bytes it keeps for each image.
    """

    scores: Callable[..., Scores]
    defaults: dict[str, float]
    bytes_per_image: Callable[..., float]


METHODS = {
    # neighbours; two encodings that hold about half of k1 · k2 entries
    "k-reciprocal": Method(
        KReciprocalScores,
        {"k1": 20, "k2": 6, "lambda_value": 0.3},
        lambda k1, k2, **_: 12 * (k1 + 1) + 2 * 16 * k1 * k2 / 2,
    ),
    # neighbours; A + Aᵀ of the first step; A + Aᵀ of the second step, which has up to three times
    # k1 · k2 entries and is held twice while it is built
    "gnn": Method(
        GraphScores,
        {"k1": 26, "k2": 7, "lambda_value": 0.3},
        lambda k1, k2, **_: 12 * k1 + 8 * 2 * k1 + 2 * 8 * 3 * k1 * k2,
    ),
    "aqe": Method(
        expanded_scores,
        {"k1": 5, "alpha": 0.0, "augment": 0},
        lambda k1, augment, **_: 12 * (k1 + augment),
    ),
}
SEARCHES: dict[str, Callable[..., NeighbourSearch]] = {
    "exact": ExactNeighbours,
    "faiss": lambda device, budget: FaissNeighbours("ivf"),
    "faiss-hnsw": lambda device, budget: FaissNeighbours("hnsw"),
}
COPIES = 3  # arrays of the size of a chunk that a thread may hold at once
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RerankSpec:
    """How to re-rank.

    method: a key of METHODS.
    settings: {name: value} that replace the method's defaults.
    neighbours: a key of SEARCHES.
    memory_gb: limit on the memory used besides the features.

    Raises UserError for an unknown method or search, if the method would ignore a setting, if a
    value is not a number of its kind, and if one is out of range.
    """

    method: str = "k-reciprocal"
    settings: Mapping[str, float] = field(default_factory=dict)
    neighbours: str = "exact"
    memory_gb: float = 2.0

    @classmethod
    def of(cls, options: RerankOptions) -> RerankSpec:
        """Return the re-ranking that options describe. Raises UserError as the constructor does."""
        settings = {
            name: getattr(options, name) for each in METHODS.values() for name in each.defaults
        }
        given = {name: value for name, value in settings.items() if value is not None}
        return cls(options.method, given, options.neighbours, options.memory_gb)

    def __post_init__(self) -> None:
        for flag, name, known in (
            ("method", self.method, METHODS),
            ("neighbours", self.neighbours, SEARCHES),
        ):
            if name not in known:
                raise UserError(
                    f"--{flag} {name}: expected {', '.join(known)}.{did_you_mean(name, known)}"
                )
        defaults = METHODS[self.method].defaults
        for name in self.settings.keys() - defaults.keys():
            raise UserError(
                f"--{name}: --method {self.method} does not use it; it "
                f"takes --{', --'.join(defaults)}."
            )
        for name, value in {**self.settings, "memory_gb": self.memory_gb}.items():
            if not isinstance(value, int | float | np.number) or not math.isfinite(value):
                raise UserError(f"--{name} {value!r}: expected a finite number.")
            if not computable(float(value)):
                raise UserError(
                    f"--{name} {value}: expected 0, or a number "
                    f"between {SMALLEST:g} and {LARGEST:g}."
                )
            if isinstance(defaults.get(name), int) and not isinstance(value, int | np.integer):
                raise UserError(f"--{name} {value}: expected a whole number.")
        if not 0 <= self.settings.get("lambda_value", 0) <= 1:
            raise UserError(f"--lambda_value {self.settings['lambda_value']}: expected 0 to 1.")


def rescorer(spec: RerankSpec) -> Callable[..., Scores]:
    """Return the function (query features, gallery features, device) → scores for metrics.evaluate.

    The function raises UserError for features that cannot be compared, and if they need more memory
    than the spec allows.
    """
    method = METHODS[spec.method]
    settings = {**method.defaults, **spec.settings}

    def rescore(query: Features, gallery: Features, device: torch.device | None = None) -> Scores:
        query, gallery = (
            query.astype(np.float32, copy=False),
            gallery.astype(np.float32, copy=False),
        )
        check_comparable(query, gallery)
        if "k2" in settings:
            check_neighbours(int(settings["k1"]), int(settings["k2"]), len(gallery))
        num_images, dimension = len(query) + len(gallery), query.shape[1]
        budget = plan_memory(spec, num_images, 4 * dimension + method.bytes_per_image(**settings))
        build = method.scores
        if device is not None and build is GraphScores and matrix_fits(num_images, device):
            build = partial(DenseGraphScores, device=device)
        scores = build(
            query, gallery, **settings, neighbours=SEARCHES[spec.neighbours](device, budget)
        )
        scores.budget = budget
        return scores

    return rescore


def plan_memory(spec: RerankSpec, num_images: int, bytes_per_image: float) -> int:
    """Return the bytes for a chunk of scores that keep the whole within the spec's memory; log the
    total.

    Raises UserError if not even one row of scores fits.
    """
    fixed, row, copies = num_images * bytes_per_image, 4 * num_images, COPIES * thread_count()
    left = spec.memory_gb * 1e9 - fixed
    if left < copies * row:
        least = (fixed + copies * row) / 1e9
        raise UserError(
            f"--memory_gb {spec.memory_gb:g}: {num_images} images need at least {least:.4f}."
        )
    budget = int(min(CHUNK_BYTES, row * MOST_ROWS, left / copies))
    needed = (fixed + copies * budget) / 1e9
    log.warning(
        "%s: about %.2f GB in addition to the features (limit %g)",
        spec.method,
        needed,
        spec.memory_gb,
    )
    return budget
