"""The network that an index remembers, and its Embedder."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from person_reid.arrays import as_float32
from person_reid.config.option import Options, as_flag, configured
from person_reid.config.search import AnswerOptions, NetworkOfIndex
from person_reid.config.tested import (
    CONFIG_FILE,
    DECIDED,
    NAMING,
    PREPARED,
    TestConfig,
    TrainedNetwork,
)
from person_reid.config.train import PrecisionOptions
from person_reid.config.zoo import PACKAGED_NETWORK, packaged
from person_reid.deploy.network_names import feature_flags, network_name, run_of
from person_reid.errors import UserError, describe_error
from person_reid.files import SETTINGS_BYTES, content_of, real
from person_reid.gallery.checks import SAME_PICTURE
from person_reid.gallery.contract import Gallery
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import load_threshold
from person_reid.retrieval.track_features import TrackCosines
from person_reid.run_folder import RunFolder, default_name, names_a_run
from person_reid.text import as_command, parse_json

if TYPE_CHECKING:  # an index can be opened without PyTorch
    from person_reid.deploy.embedder import Embedder
    from person_reid.deploy.onnx_embedder import OnnxEmbedder

log = logging.getLogger(__name__)
RUNTIME = "onnxruntime"  # runs ONNX files without PyTorch
# The options on which features depend. An index stores from_run as "from".
OF_FEATURES = (*DECIDED, *PREPARED, "engine", "no_flip", *PrecisionOptions.declared())
# Options that give the place of a network; its features show whether it is the same network.
MOVABLE = ("name", "weights", "engine", "from")
MOVED_FILES = ("weights", "engine", "from")  # the options of MOVABLE that name files or folders
NETWORK_NOTES = ("network", "probe")  # keys of what an index remembers about its network


class ProbedNetwork(Protocol):
    """A network that can be identified by the feature it computes for a synthetic image."""

    def probe(self) -> Features:
        """Return the feature (D,) of probe_image()."""


@dataclass(frozen=True)
class NetworkRef:
    """The network of an index: where it is loaded from, and the options that affect its features.

    kind: the option of test.py that names the network: name (of a run), from, weights or engine.
    place: the value of that option.
    options: (option, value) of the other options that are set, in alphabetical order.
    """

    kind: str
    place: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def from_json(cls, flags: Mapping[str, Any]) -> "NetworkRef":
        """Return the network that {option: value} describes; any other source overrides `name`."""
        kind = next((name for name in ("engine", "from", "weights") if flags.get(name)), "name")
        others = (
            (name, value)
            for name, value in flags.items()
            if name not in (kind, "name") and value is not None and value is not False
        )
        return cls(kind, str(flags.get(kind) or ""), tuple(sorted(others)))

    def to_json(self) -> dict[str, Any]:
        """Return {option: value}."""
        return {self.kind: self.place, **dict(self.options)}

    def config(self) -> TestConfig:
        """Return the network as options of test.py; unknown options are skipped."""
        values = self.to_json()
        values["from_run"] = values.pop("from", None)
        known = {name: value for name, value in values.items() if name in TestConfig.declared()}
        return configured(TestConfig, {k: v for k, v in known.items() if v is not None})

    def contradicted(self, asked: Mapping[str, Any]) -> list[str]:
        """Describe which of the options {option: value} contradict this network.

        A new path is not a contradiction: the feature of the synthetic image identifies the
        network.
        """
        own = self.to_json()
        return [
            f"{name} (remembered: {_value(own.get(name))}, asked: {_value(value)})"
            for name, value in asked.items()
            if _value(own.get(name)) != _value(value)
            and not (name == self.kind and name in MOVABLE)
        ]

    def __str__(self) -> str:
        backbone = dict(self.options).get("backbone")
        return f"{backbone} {self.place}" if backbone else self.place


def open_network(
    index: Gallery, options: NetworkOfIndex | AnswerOptions | None = None
) -> "Embedder":
    """Return the Embedder that an index remembers, or that the options name for a new index.

    >>> embed = open_network(SearchIndex("people.index"))

    Raises UserError if the options name a network other than the one that the index remembers, or
    if that network's features have changed since.
    """
    from person_reid.deploy.find import open_embedder  # loads torch

    options = options or AnswerOptions(index=str(index.path))
    network = network_ref(index, options)
    check_place(index, network)
    config = replace(
        network.config(),
        gpu_ids=options.gpu_ids,
        batchsize=options.batchsize,
        runtime=options.runtime,
    )
    run = run_of(config)
    missing = run and not RunFolder(run).options_file.exists()
    known = known_network(index) if missing else None
    if known and (known.kind, known.place) == ("name", run):  # if not, the options name it
        raise UserError(
            f"{index.path}: its network is the run {run}, which is not in {Path.cwd()}. "
            f"Go to the folder that holds model/{run}."
        )
    embedder = open_embedder(config)
    check_same_network(index, embedder, network)
    return embedder


def open_onnx_network(index: Gallery, options: NetworkOfIndex) -> "OnnxEmbedder":
    """Return, without PyTorch, the network that an index remembers or that the options name.

    Raises UserError as open_network does, and unless the network is an ONNX file for onnxruntime.
    """
    from person_reid.deploy.onnx_embedder import OnnxEmbedder

    network = network_ref(index, options)
    check_place(index, network)
    if Path(network.place).suffix.lower() != ".onnx" or options.runtime not in (None, RUNTIME):
        raise UserError(
            f"{index.path}: PyTorch is not installed, and its network ({network}) needs it: python "
            f"-m pip install torch. Without PyTorch, {RUNTIME} runs ONNX files."
        )
    embedder = OnnxEmbedder(network.place, not network.config().no_flip)
    check_same_network(index, embedder, network)
    return embedder


def check_place(index: Gallery, network: NetworkRef) -> None:
    """Raise UserError if the network that an index remembers has moved."""
    place = Path(network.place)
    missing = network.kind in MOVED_FILES and place.is_absolute() and not place.exists()
    if missing and known_network(index):
        raise UserError(
            f"{index.path}: its network is not at {place} any more. Name its place: "
            f"{as_flag(network.kind)} PLACE, or once and for all: {as_command('tools/gallery.py')} "
            "relocate OLD NEW --index FILE"
        )


def ref_of(embedder: "Embedder") -> NetworkRef:
    """Return, in the form that an index stores, the network of an Embedder created in Python.

    Raises UserError if no options describe it, because a command could not open it.
    """
    from person_reid.models.factory import options_of  # loads torch

    source, weights = embedder.source, embedder.weights
    if not isinstance(source, str | Path):
        raise UserError(
            "network: no command could open it again. Make the Embedder of the name of a run, of "
            "weights, of an exported file, or by Embedder.from_pretrained."
        )
    flags = _defaults() | {"no_flip": not embedder.flip}
    if weights:
        height, width = embedder.size
        place = {"weights": str(real(weights)), "height": height, "width": width}
        return NetworkRef.from_json(flags | options_of(str(source)) | place)
    kind = "name"
    if packaged(source):
        kind = "from"
    elif Path(source).exists():
        source, kind = str(real(source)), "from" if Path(source).is_dir() else "engine"
    return NetworkRef.from_json(flags | {kind: str(source)})


def check_same_embedder(index: Gallery, embedder: "Embedder") -> None:
    """Check that an Embedder's network computed an index's features, or record it in a new index.

    Raises UserError if it did not, and, for a new index, if no options describe the network.
    """
    check_same_network(index, embedder, known_network(index) or ref_of(embedder))


def network_options(index: Gallery) -> TestConfig:
    """Return the network that an index remembers, or the default network."""
    return network_ref(index).config()


def measured_threshold(
    given: str | None, index: Gallery, score: str, camera_norm: bool = False
) -> float | None:
    """Return the threshold that an option gives, checked against an index's network.

    score, camera_norm: see load_threshold.
    The log warns of a threshold that was measured on another network. Raises UserError for one that
    was measured for another score.
    """
    if given is None:
        return None
    return load_threshold(given, *measured_on(index), score=score, camera_norm=camera_norm)


def track_cosines_of(index: Gallery) -> TrackCosines | None:
    """Return the TrackCosines of an index's network, or None if its config.json has none.

    The file is in the folder of the network, or beside its weights. Raises UserError if it is
    damaged.
    """
    network = known_network(index)
    place = packaged(network.place) or Path(network.place) if network else Path()
    file = (place if place.is_dir() else place.parent) / CONFIG_FILE
    try:
        return TrackCosines.read(parse_json(content_of(file, SETTINGS_BYTES)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({describe_error(error)}).") from error


def measured_on(index: Gallery) -> tuple[str, str]:
    """Return the network and feature options of an index in the form used in result files."""
    network = network_options(index)
    return network_name(network), feature_flags(network)


def network_ref(index: Gallery, options: Options | None = None) -> NetworkRef:
    """Return the network that an index remembers or, for a new index, the one the options name.

    Raises UserError if the options contradict what the index remembers.
    """
    given = options.not_default(OF_FEATURES) if isinstance(options, TrainedNetwork) else {}
    if start := given.pop("from_run", None):
        given["name" if names_a_run(start) else "from"] = start
    for name in MOVED_FILES:
        if name in given and Path(given[name]).exists():
            given[name] = str(real(given[name]))
    if remembered := known_network(index):
        check_agrees(index, remembered, given)
        return NetworkRef.from_json(remembered.to_json() | given)
    named = given.keys() & {"from", *NAMING}
    usual = {"name": default_name()} if named else {"from": PACKAGED_NETWORK}
    return NetworkRef.from_json(_defaults() | usual | given)


def _defaults() -> dict[str, Any]:
    """Return {option: its default} for the options that features depend on."""
    known = TestConfig.declared()
    return {name: known[name].default for name in OF_FEATURES if name != "from_run"}


def known_network(index: Gallery) -> NetworkRef | None:
    """Return the network that an index remembers, or None for a new index.

    Raises UserError for an invalid entry.
    """
    flags = index.recall("network")
    if flags is None:
        return None
    plain = str | int | float | None
    fit = isinstance(flags, dict) and all(isinstance(value, plain) for value in flags.values())
    if fit:
        return NetworkRef.from_json(flags)
    raise UserError(f"{index.path}: damaged: it says {flags!r:.100} of its network.")


def check_same_network(index: Gallery, embedder: ProbedNetwork, network: NetworkRef) -> None:
    """Check that an embedder runs an index's network, by its feature for a synthetic image.

    network: the network of the embedder; a new index remembers it. Raises UserError if the index
    belongs to another network, to other weights, or to other options.
    """
    probe = embedder.probe()
    if index.recall("network") is None and len(index):
        log.warning(
            "%s: it does not say which network indexed its %d images. Was it this one?",
            index.path,
            len(index),
        )
    asked = network.to_json()
    kept = index.remember({"network": asked, "probe": probe.tolist()})["probe"]
    known = known_network(index) or network
    check_agrees(index, known, asked)
    kept = as_float32(kept, f"{index.path}: damaged: the feature of its test image")
    if kept.shape != probe.shape or not probe @ kept >= SAME_PICTURE:
        raise UserError(
            f"{index.path}: its features were made by another network ({known}), or its weights "
            f"have changed since. {_again(index)}"
        )


def check_agrees(index: Gallery, known: NetworkRef, asked: Mapping[str, Any]) -> None:
    """Raise UserError if options {option: value} contradict the network of an index."""
    if wrong := known.contradicted(asked):
        raise UserError(
            f"{index.path}: made with other flags: {', '.join(wrong)}. "
            f"Leave them out, or take another index. {_again(index)}"
        )


def _again(index: Gallery) -> str:
    """Return advice on how to switch to another network."""
    if not len(index):
        return "Index the images (it holds none yet): --index ANOTHER_FILE"
    words = f", or give all this network: {as_command('tools/gallery.py')} reindex"
    return f"Index the images again: --index ANOTHER_FILE{words if index.file else ''}"


def _value(value: Any) -> str:
    """Return an option's value as text for a message."""
    return "off" if value is None or value is False else "on" if value is True else str(value)
