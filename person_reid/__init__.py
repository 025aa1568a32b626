"""Person re-identification: data, networks, losses, training, retrieval, deployment, pictures.

>>> import person_reid
>>> embed = person_reid.Embedder("ft_ResNet50")       # the run model/ft_ResNet50
>>> features = embed(["a.jpg", "b.jpg"])              # (2, D), each of unit length

Names are imported when they are first used: importing the package does not import torch. docs/api.md shows all of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from person_reid.basics import UserError as UserError
    from person_reid.deploy.embedder import Embedder as Embedder
    from person_reid.deploy.load import TestedNetwork as TestedNetwork
    from person_reid.deploy.publish import save_pretrained as save_pretrained
    from person_reid.gallery.index import SearchIndex as SearchIndex
    from person_reid.losses import create as create_loss
    from person_reid.losses import names as list_losses
    from person_reid.models.factory import build_model as build_model
    from person_reid.models.factory import create_model as create_model
    from person_reid.models.registry import list_models as list_models
    from person_reid.models.spec import NetworkSpec as NetworkSpec
    from person_reid.models.weights import load_weights as load_weights
    from person_reid.retrieval.metrics import evaluate as evaluate
    from person_reid.retrieval.rerank import RerankSpec as RerankSpec
    from person_reid.retrieval.rerank import rescorer as rescorer
    from person_reid.retrieval.results import FeatureSet as FeatureSet
    from person_reid.retrieval.results import load_result as load_result
    from person_reid.retrieval.results import save_result as save_result

__version__ = "0.2.0"
__all__ = [
    "Embedder", "FeatureSet", "NetworkSpec", "RerankSpec", "SearchIndex", "TestedNetwork", "UserError",
    "build_model", "create_loss", "create_model", "evaluate", "list_losses", "list_models", "load_result",
    "load_weights", "rescorer", "save_pretrained", "save_result",
]  # fmt: skip
# Where each name lives: module, or module:name there.
HOMES = {
    "Embedder": "deploy.embedder",
    "FeatureSet": "retrieval.results",
    "NetworkSpec": "models.spec",
    "RerankSpec": "retrieval.rerank",
    "SearchIndex": "gallery.index",
    "TestedNetwork": "deploy.load",
    "UserError": "basics",
    "build_model": "models.factory",
    "create_loss": "losses:create",
    "create_model": "models.factory",
    "evaluate": "retrieval.metrics",
    "list_losses": "losses:names",
    "list_models": "models.registry",
    "load_result": "retrieval.results",
    "load_weights": "models.weights",
    "rescorer": "retrieval.rerank",
    "save_pretrained": "deploy.publish",
    "save_result": "retrieval.results",
}


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), there or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
