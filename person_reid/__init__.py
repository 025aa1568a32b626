"""Person re-identification: data, networks, losses, training, retrieval, deployment, pictures.

>>> import person_reid
>>> embed = person_reid.Embedder("ft_ResNet50")       # the run model/ft_ResNet50
>>> features = embed(["a.jpg", "b.jpg"])              # (2, D), each of unit length

Names are imported when they are first used: importing the package does not import torch.
docs/api.md shows all of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from person_reid.config import FitOptions, OptionError
    from person_reid.config.evaluate import RerankOptions
    from person_reid.config.network import NetworkOptions
    from person_reid.console.networks import open_teacher
    from person_reid.data.bank import load_bank
    from person_reid.data.layout import read_dataset, read_training_splits
    from person_reid.deploy.embedder import Embedder
    from person_reid.deploy.find import feature_flags, network_name, open_embedder, run_of
    from person_reid.deploy.load import TestedNetwork
    from person_reid.deploy.publish import save_pretrained
    from person_reid.device import prepare_training, seed_everything
    from person_reid.distributed import World, join_world, start_processes
    from person_reid.errors import UserError
    from person_reid.gallery.identification import identify
    from person_reid.gallery.index import SearchIndex
    from person_reid.losses import create as create_loss
    from person_reid.losses import names as list_losses
    from person_reid.models.factory import build_model, create_model
    from person_reid.models.registry import list_models
    from person_reid.models.weights import load_weights
    from person_reid.retrieval.extract import extract, extract_split
    from person_reid.retrieval.metrics import evaluate
    from person_reid.retrieval.normalization import CameraNorm, Whitening
    from person_reid.retrieval.rerank import rescorer
    from person_reid.retrieval.results import FeatureSet, load_result, save_result
    from person_reid.training.build import (
        averaging,
        create_criterion,
        create_network,
        describe_training,
        find_state,
        further_terms,
        resolved,
    )
    from person_reid.training.criterion import Criterion
    from person_reid.training.evaluation import Evaluation
    from person_reid.training.fit import fit
    from person_reid.training.images import TrainingImages
    from person_reid.training.journal import RunJournal, open_journal
    from person_reid.training.step import TrainingStep, train_one_epoch

__version__ = "0.2.0"
__all__ = [
    "CameraNorm", "Criterion", "Embedder", "Evaluation", "FeatureSet", "FitOptions",
    "NetworkOptions", "OptionError", "RerankOptions", "RunJournal", "SearchIndex",
    "TestedNetwork", "TrainingImages", "TrainingStep", "UserError", "Whitening", "World",
    "averaging", "build_model", "create_criterion", "create_loss", "create_model",
    "create_network", "describe_training", "evaluate", "extract", "extract_split",
    "feature_flags", "find_state", "fit", "further_terms", "identify", "join_world", "list_losses",
    "list_models", "load_bank", "load_result", "load_weights", "network_name",
    "open_embedder", "open_journal", "open_teacher", "prepare_training", "read_dataset",
    "read_training_splits", "rescorer", "resolved", "run_of", "save_pretrained",
    "save_result", "seed_everything", "start_processes", "train_one_epoch",
]  # fmt: skip
# Where each name lives: module, or module:name there.
HOMES = {
    "Criterion": "training.criterion",
    "OptionError": "config",
    "read_dataset": "data.layout",
    "fit": "training.fit",
    "extract": "retrieval.extract",
    "extract_split": "retrieval.extract",
    "Embedder": "deploy.embedder",
    "FeatureSet": "retrieval.results",
    "NetworkOptions": "config.network",
    "RerankOptions": "config.evaluate",
    "SearchIndex": "gallery.index",
    "TestedNetwork": "deploy.load",
    "UserError": "errors",
    "build_model": "models.factory",
    "Evaluation": "training.evaluation",
    "FitOptions": "config",
    "RunJournal": "training.journal",
    "TrainingImages": "training.images",
    "TrainingStep": "training.step",
    "World": "distributed",
    "averaging": "training.build",
    "create_criterion": "training.build",
    "create_network": "training.build",
    "describe_training": "training.build",
    "find_state": "training.build",
    "further_terms": "training.build",
    "identify": "gallery.identification",
    "join_world": "distributed",
    "open_journal": "training.journal",
    "open_teacher": "console.networks",
    "prepare_training": "device",
    "read_training_splits": "data.layout",
    "resolved": "training.build",
    "seed_everything": "device",
    "start_processes": "distributed",
    "train_one_epoch": "training.step",
    "CameraNorm": "retrieval.normalization",
    "Whitening": "retrieval.normalization",
    "load_bank": "data.bank",
    "open_embedder": "deploy.find",
    "feature_flags": "deploy.find",
    "network_name": "deploy.find",
    "run_of": "deploy.find",
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
