"""The options of evaluate.py, evaluate_gpu.py and evaluate_rerank.py, and of all re-ranking."""

from person_reid.config.forms import file_ending_in, ranks
from person_reid.config.look import TableForm
from person_reid.config.option import (
    ANY,
    POSITIVE,
    WEIGHT,
    WHOLE,
    Options,
    Range,
    option,
    redeclared,
)
from person_reid.config.run import DeviceOptions, PluginOptions

AVERAGE_PRECISION_NAMES = ("trapezoidal", "step")
DISTANCE_NAMES = ["cosine", "euclidean"]
RERANK_NAMES = ("k-reciprocal", "gnn", "aqe")
OF_GALLERY = ("multi_query", "ap", "ignore_cameras", "clothes", "save_per_query", "by", "scores")
PARTS = ("cameras", "identities")
SEARCH_NAMES = ("exact", "faiss", "faiss-hnsw")
CONFIDENCE = 0.95  # the share of intervals that hold the true value
BOOTSTRAP_DRAWS = 10_000
ENOUGH_DRAWS = Range("from 100 to 1000000", lambda number: 100 <= number <= 1_000_000)


class EvaluationOptions(TableForm, title="evaluation"):
    """The features to evaluate, the protocol, and the files to write."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    multi_query: str | None = option(
        None,
        "features of multiple queries (default: what test.py --multi wrote beside --result)",
        metavar="FILE",
    )
    ap: str = option("trapezoidal", "kind of average precision", choices=AVERAGE_PRECISION_NAMES)
    ignore_cameras: bool = option(False, "also count matches from the query's own camera")
    clothes: bool = option(False, "also evaluate matches in other clothes only, as LTCC and PRCC")
    ranks: str = option("1,5,10", "the k of each Rank@k", form=ranks, metavar="K,K")
    by: str | None = option(
        None, "also print a table for each pair of cameras, or for each identity", choices=PARTS
    )
    bootstrap: int | None = option(
        None,
        "also print 95 % confidence intervals, from N draws of identities "
        f"(without N: {BOOTSTRAP_DRAWS})",
        range=ENOUGH_DRAWS,
        bare=BOOTSTRAP_DRAWS,
    )
    json: str | None = option(
        None, "also write the metrics to a file", form=file_ending_in(".json"), metavar="FILE"
    )
    save_per_query: str | None = option(
        None,
        "write AP, INP and first match of each query",
        form=file_ending_in(".csv"),
        metavar="FILE",
    )


class RankingOptions(PluginOptions, title="ranking"):
    """The ranking of the gallery without re-ranking."""

    distance: str = option(
        "cosine", "use euclidean after test.py --no_norm", choices=DISTANCE_NAMES
    )
    scores: str | None = option(
        None,
        "rank by your own matrix, queries × gallery, instead; higher means nearer",
        metavar="FILE.npy",
    )
    lower_is_nearer: bool = option(
        False, "the numbers of --scores are distances", needs={"scores": ANY}
    )
    single_shot: bool = option(
        False, "CUHK03's protocol, and with --clothes PRCC's: one random image per identity"
    )
    gap: int | None = option(
        None,
        "instead, find each person again this many frames later, as Roboflow's reid does",
        metavar="FRAMES",
        range=POSITIVE,
    )
    query_stride: int = option(
        1,
        "take queries from every Nth frame (reid: 60)",
        metavar="FRAMES",
        range=POSITIVE,
        needs={"gap": ANY},
    )


class RerankOptions(Options, title="re-ranking"):
    """The method of re-ranking the gallery, and its settings; None means the method's default."""

    method: str = option("k-reciprocal", "method of re-ranking", choices=RERANK_NAMES)
    k1: int | None = option(
        None, "neighbours of an image (default: 20; gnn 26; aqe 5)", range=POSITIVE
    )
    k2: int | None = option(
        None, "neighbours whose descriptions are averaged (default: 6; gnn 7)", range=POSITIVE
    )
    lambda_value: float | None = option(
        None, "weight of the original distance (default: 0.3)", published=True
    )
    alpha: float | None = option(
        None, "aqe: a neighbour weighs cos^alpha (default: 0, the plain average)", range=WEIGHT
    )
    augment: int | None = option(
        None, "aqe: neighbours added to every gallery image first (default: 0)", range=WHOLE
    )
    neighbours: str = option("exact", "how neighbours are found", choices=SEARCH_NAMES)
    memory_gb: float = option(
        2.0, "most memory to use in addition to the features, in GB", range=POSITIVE
    )


class EvaluateConfig(RankingOptions, EvaluationOptions):
    """All options of evaluate.py."""

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if self.single_shot and (self.save_per_query or self.distance != "cosine"):
            return "single_shot does not work with save_per_query, nor with another distance."
        if self.single_shot and (self.by or self.gap):
            return "single_shot does not work with by or gap."
        if self.scores and (given := self.not_default(("distance", "single_shot", "multi_query"))):
            return f"{', '.join(given)} would be ignored: scores belong to the queries' features."
        if self.gap and (given := self.not_default(OF_GALLERY)):
            return f"{', '.join(given)} would be ignored: gap ranks the people of one frame."
        return ""


class EvaluateGpuConfig(DeviceOptions, EvaluateConfig):
    """All options of evaluate_gpu.py."""

    gpu_ids: str = redeclared(
        DeviceOptions, "gpu_ids", "0", help="GPU to use; -1 for the CPU", common=False
    )


class EvaluateRerankConfig(DeviceOptions, RerankOptions, EvaluationOptions):
    """All options of evaluate_rerank.py."""

    multi_query: str | None = redeclared(
        EvaluationOptions,
        "multi_query",
        None,
        help="also re-rank these features, written by test.py --multi",
    )
    gpu_ids: str = redeclared(
        DeviceOptions,
        "gpu_ids",
        "-1",
        help="GPU to re-rank on; -1 for the CPU, without torch",
        common=False,
    )
