"""The protocols of an evaluation: what is counted, and how a line of figures says so."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from person_reid.config.evaluate import EvaluationOptions, RankingOptions
from person_reid.data.names import clothes_of, names_in
from person_reid.retrieval.metrics import Metrics, evaluate
from person_reid.retrieval.results import FeatureSet

if TYPE_CHECKING:
    from person_reid.distributed import World


def by_protocol(
    config: EvaluationOptions,
    query: FeatureSet,
    gallery: FeatureSet,
    scores: Callable[[int, int], Any],
    world: "World | None" = None,
) -> dict[str, Metrics]:
    """Return the figures of a ranking, with --clothes those of both protocols."""
    ranking = (query, gallery, config.ap, scores, config.ignore_cameras, world)
    if not config.clothes:
        return {"": evaluate(*ranking)}
    asked, among = (clothes_of(names_in(each.paths), each.labels) for each in (query, gallery))
    found = {"general ": evaluate(*ranking)}
    return found | {"clothes-changing ": evaluate(*ranking, clothes=(asked, among))}


def ranking_options(config: EvaluationOptions) -> RankingOptions:
    """Return how the gallery is ranked, by default if it is re-ranked."""
    return config if isinstance(config, RankingOptions) else RankingOptions()


def protocol(config: EvaluationOptions) -> str:
    """Return what differs from the usual protocol, in words."""
    ranked = ranking_options(config)
    remarks = {
        "Euclidean distance": ranked.distance == "euclidean",
        "cameras ignored": config.ignore_cameras,
        "single gallery shot": ranked.single_shot,
        f"{ranked.gap} frames later, as Roboflow's reid measures it": ranked.gap,
    }
    return ", ".join(text for text, applies in remarks.items() if applies)
