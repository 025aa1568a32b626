"""Find and load the network to test, from a run or a weight file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from person_reid.config.files import check_plugins
from person_reid.config.network import PUBLISHED_CLASSES, NetworkOptions
from person_reid.config.zoo import implied
from person_reid.errors import UserError
from person_reid.models.factory import (
    build_network,
    check_network,
    options_of,
    own_settings,
)
from person_reid.models.network import Network, check_size
from person_reid.models.weights import load_weights
from person_reid.retrieval.features import scaled
from person_reid.run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkToTest:
    """A network to test: its NetworkOptions and its weights.

    spec: its layers and the size of its images; by default, the network's own size.
    weights: "imagenet", "none" or a file.
    num_classes: the number of its classifier's outputs, or None if it has no classifier. seed:
    draws the weights that no file contains, or is None for a run, which has all weights.
    """

    __test__ = False  # pytest would take a class of this name for tests

    spec: NetworkOptions
    weights: str | Path
    num_classes: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", replace(self.spec, **own_settings(self.spec)))

    @property
    def from_file(self) -> bool:
        """Return whether the weights are from a file, which must hold all that a feature needs."""
        return str(self.weights) not in ("imagenet", "none")

    @property
    def size(self) -> tuple[int, int]:
        """Return the (height, width) of its images."""
        assert self.spec.height, "a resolved spec has a size"
        assert self.spec.width, "a resolved spec has a size"
        return self.spec.height, self.spec.width

    def resized(self, size: tuple[int | None, int | None]) -> "NetworkToTest":
        """Return the same network for images of another (height, width).

        A side that is None does not change.
        """
        height, width = self.size
        return replace(
            self, spec=replace(self.spec, height=size[0] or height, width=size[1] or width)
        )


def network_of_run(
    name: str, which_epoch: str | int = "last", size: tuple[int | None, int | None] = (None, None)
) -> NetworkToTest:
    """Find the network in the run model/NAME. size: (height, width), by default as in training.

    Raises UserError or FileNotFoundError if the run or the checkpoint does not exist.
    """
    run = RunFolder(name)
    network, weights = options_of_run(run), run.weights_file(which_epoch)
    return NetworkToTest(network, weights, run.num_classes(run.options())).resized(size)


def options_of_run(run: RunFolder, otherwise: Mapping[str, Any] | None = None) -> NetworkOptions:
    """Return the resolved network options of a run.

    otherwise: see RunFolder.config. Raises UserError if they need a plugin that is not loaded.
    """
    config = run.config(otherwise)
    try:
        check_network(config)
        return NetworkOptions.of(asdict(config) | own_settings(config))
    except UserError:
        check_plugins(run.options(), run.options_file)
        raise


def network_of_name(name: str) -> NetworkToTest:
    """Find the published network with a name from list_models(pretrained=True)."""
    layers = implied(name, NetworkOptions.declared())
    layers = options_of(layers["backbone"]) | layers
    classes = PUBLISHED_CLASSES if "neck" in layers else None
    return NetworkToTest(NetworkOptions(**layers), name, classes, seed=0)


def network_of_weights(
    name: str, weights: str | Path, size: tuple[int | None, int | None] = (None, None)
) -> NetworkToTest:
    """Describe a network from list_models(), with weights from a file or, for "none", untrained."""
    chosen = options_of(name)
    classes = PUBLISHED_CLASSES if "neck" in chosen else None  # no feature depends on their number
    layers = NetworkOptions(**chosen, height=size[0], width=size[1])
    return NetworkToTest(layers, str(weights), classes, seed=0)


def load_network(tested: NetworkToTest, scales: Sequence[float] = (1.0,)) -> Network:
    """Build a network and load its weights.

    scales: factors by which images will be resized. Raises UserError or FileNotFoundError for
    weights that do not fit the network, and UserError if it cannot process images of these sizes.
    """
    # Leaves the caller's random state unchanged.
    with torch.random.fork_rng(devices=[]):
        if tested.seed is not None:
            torch.random.default_generator.manual_seed(tested.seed)
        network = build_network(
            tested.spec, tested.num_classes, "none" if tested.from_file else str(tested.weights)
        )
    if tested.from_file:
        report = load_weights(network, tested.weights, strict=True)
        if tested.seed is not None:  # a run's weights always fit, so there is nothing to report
            log.info("%s: %s.", tested.weights, report)
    if tested.size != (network.own_size or network.architecture.size):
        check_size(network, tested.spec.backbone, tested.size)
    for scale in scales:
        if scale != 1:
            check_size(network, tested.spec.backbone, scaled(tested.size, scale), advice="ms")
    return network
