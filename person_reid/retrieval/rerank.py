"""The flags of re-ranking, and what they choose."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from person_reid.basics import UserError
from person_reid.retrieval.expansion import ExpandedScores
from person_reid.retrieval.faiss_neighbours import FaissNeighbours
from person_reid.retrieval.graph import GraphScores
from person_reid.retrieval.graph_dense import DenseGraphScores, fits
from person_reid.retrieval.k_reciprocal import KReciprocalScores
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import CHUNK_BYTES, MOST_ROWS, Scores, thread_count


class Method(NamedTuple):
    """A way to re-rank: its Scores, the published values of the flags that it takes, and what it keeps in memory."""

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
    # neighbours and A + Aᵀ of the first step; that of the second with up to three times k1 · k2 entries, twice while
    # it is built
    "gnn": Method(
        GraphScores,
        {"k1": 26, "k2": 7, "lambda_value": 0.3},
        lambda k1, k2, **_: 12 * k1 + 8 * 2 * k1 + 2 * 8 * 3 * k1 * k2,
    ),
    "aqe": Method(
        ExpandedScores,
        {"k1": 5, "alpha": 0.0, "augment": 0},
        lambda k1, augment, **_: 12 * (k1 + augment),
    ),
}
SEARCHES: dict[str, Callable] = {
    "exact": ExactNeighbours,
    "faiss": lambda device, budget: FaissNeighbours("ivf"),
    "faiss-hnsw": lambda device, budget: FaissNeighbours("hnsw"),
}
FLAGS = ("k1", "k2", "lambda_value", "alpha", "augment")
COPIES = 3  # arrays of the size of a chunk that a thread may hold at once


def add_rerank_flags(parser):
    """Add the flags of every method; None means the method's own default."""
    group = parser.add_argument_group("re-ranking")
    group.add_argument("--method", default="k-reciprocal", choices=METHODS, help="how the gallery is ranked again")
    group.add_argument("--k1", type=int, help="neighbours of an image (default: 20; gnn 26; aqe 5)")
    group.add_argument("--k2", type=int, help="neighbours whose descriptions are averaged (default: 6; gnn 7)")
    group.add_argument("--lambda_value", type=float, help="share of the original distance (default: 0.3)")
    group.add_argument("--alpha", type=float, help="aqe: a neighbour weighs cos^alpha (default: 0, the plain average)")
    group.add_argument("--augment", type=int, help="aqe: neighbours added to every gallery image first (default: 0)")
    group.add_argument("--neighbours", default="exact", choices=SEARCHES, help="who searches")
    group.add_argument("--memory_gb", type=float, default=2.0, help="bound on the memory beside the features")


def rescorer(args):
    """The function (query features, gallery features, device) → scores for metrics.evaluate that the flags describe.

    Raises UserError for a flag that the method would ignore and, once it knows the data, for too little memory.
    """
    method, defaults, bytes_per_image = METHODS[args.method]
    given = {flag: getattr(args, flag) for flag in FLAGS if getattr(args, flag) is not None}
    for flag in given.keys() - defaults.keys():
        raise UserError(f"--{flag}: --method {args.method} has no use for it; it takes --{', --'.join(defaults)}.")
    if not 0 <= given.get("lambda_value", 0) <= 1:
        raise UserError(f"--lambda_value {args.lambda_value}: expected 0 to 1.")
    settings = defaults | given

    def rescore(query, gallery, device=None):
        num_images, dimension = len(query) + len(gallery), query.shape[1]
        budget = plan_memory(args, num_images, 4 * dimension + bytes_per_image(**settings))
        options = settings | {"neighbours": SEARCHES[args.neighbours](device, budget)}
        if method is GraphScores and device is not None and fits(num_images, device):
            scores: Scores = DenseGraphScores(query, gallery, **options, device=device)
        else:
            scores = method(query, gallery, **options)
        scores.budget = budget
        return scores

    return rescore


def plan_memory(args, num_images, bytes_per_image):
    """Bytes for a chunk of scores, such that the whole stays within --memory_gb; says on stderr how much that is."""
    fixed, row, copies = num_images * bytes_per_image, 4 * num_images, COPIES * thread_count()
    left = args.memory_gb * 1e9 - fixed
    if left < copies * row:
        least = (fixed + copies * row) / 1e9
        raise UserError(f"--memory_gb {args.memory_gb:g}: {num_images} images need at least {least:.4f}.")
    budget = int(min(CHUNK_BYTES, row * MOST_ROWS, left / copies))
    needed = (fixed + copies * budget) / 1e9
    print(f"{args.method}: about {needed:.2f} GB beside the features (limit {args.memory_gb:g})", file=sys.stderr)
    return budget
