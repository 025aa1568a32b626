"""Person re-identification: data, networks, losses, training, retrieval, deployment, pictures.

>>> import person_reid
>>> embed = person_reid.Embedder("ft_ResNet50")       # the run model/ft_ResNet50
>>> features = embed(["a.jpg", "b.jpg"])              # (2, D), each of unit length

Names are imported when they are first used: importing the package does not import torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from person_reid.deploy.embedder import Embedder as Embedder
    from person_reid.models.factory import build_model as build_model
    from person_reid.retrieval.metrics import evaluate as evaluate
    from person_reid.retrieval.results import load_result as load_result

__version__ = "0.2.0"
HOMES = {
    "Embedder": "person_reid.deploy.embedder",
    "build_model": "person_reid.models.factory",
    "evaluate": "person_reid.retrieval.metrics",
    "load_result": "person_reid.retrieval.results",
}
__all__ = ["Embedder", "build_model", "evaluate", "load_result"]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
