"""The flags of re-ranking, shared by evaluate_rerank.py, tools/report.py and tools/explore.py."""

from argparse import ArgumentParser, Namespace

from person_reid.cli.values import positive, weight, whole
from person_reid.retrieval.rerank import METHODS, SEARCHES, RerankSpec

SEARCH_FLAGS = ("method", "neighbours", "memory_gb")
SETTINGS = ("k1", "k2", "lambda_value", "alpha", "augment")


def add_rerank_flags(parser: ArgumentParser) -> None:
    """Add the flags of every method; None stands for the method's own default."""
    group = parser.add_argument_group("re-ranking")
    group.add_argument("--method", default="k-reciprocal", choices=METHODS, help="method of re-ranking")
    group.add_argument("--k1", type=positive(int), help="neighbours of an image (default: 20; gnn 26; aqe 5)")
    group.add_argument(
        "--k2", type=positive(int), help="neighbours whose descriptions are averaged (default: 6; gnn 7)"
    )
    group.add_argument("--lambda_value", type=float, help="weight of the original distance (default: 0.3)")
    group.add_argument("--alpha", type=weight, help="aqe: a neighbour weighs cos^alpha (default: 0, the plain average)")
    group.add_argument("--augment", type=whole, help="aqe: neighbours added to every gallery image first (default: 0)")
    group.add_argument("--neighbours", default="exact", choices=SEARCHES, help="how neighbours are searched")
    group.add_argument(
        "--memory_gb", type=positive(float), default=2.0, help="most memory to use in addition to the features, in GB"
    )


def given_rerank_flags(options: Namespace, parser: ArgumentParser) -> str:
    """Return the flags of re-ranking that differ from their defaults, as in "--k1, --k2"; "" if there are none."""
    given = (name for name in (*SEARCH_FLAGS, *SETTINGS) if getattr(options, name) != parser.get_default(name))
    return ", ".join(f"--{name}" for name in given)


def rerank_spec(options: Namespace) -> RerankSpec:
    """Return the re-ranking that the flags describe. Raises UserError for a flag that the method would ignore."""
    settings = {name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None}
    return RerankSpec(options.method, settings, options.neighbours, options.memory_gb)
