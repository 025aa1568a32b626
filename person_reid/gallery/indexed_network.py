"""The network of an index: which one it remembers, and the Embedder for its images."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from person_reid.arrays import as_float32
from person_reid.config.optimizer import PrecisionOptions
from person_reid.config.option import NAMED_ALONE, Options, as_flag, configured
from person_reid.config.search import AddOptions, AnswerOptions
from person_reid.config.tested import TestConfig, TrainedNetwork
from person_reid.data.images.image_files import limits_of_bits
from person_reid.deploy import find
from person_reid.deploy.embedder import Embedder
from person_reid.errors import UserError
from person_reid.files import real
from person_reid.gallery.checks import SAME_PICTURE
from person_reid.gallery.gallery import Gallery
from person_reid.retrieval.thresholds import load_threshold
from person_reid.run_folder import RunFolder, default_name, names_a_run

log = logging.getLogger(__name__)
# The options on which features depend. An index remembers from_run as "from".
OF_FEATURES = (
    *find.DECIDED, *find.PREPARED, "engine", "no_flip", *PrecisionOptions.declared()
)  # fmt: skip
# Options that say where a network is; whether it is the same, its features tell.
MOVABLE = ("name", "weights", "engine")


def open_network(index: Gallery, options: AddOptions | AnswerOptions) -> Embedder:
    """Return the Embedder that an index remembers, or that the options name for a new index.

    Raises UserError for options that name another network than the index remembers, and if its
    features or those of its run's weights are others by now.
    """
    flags = network_flags(index, options)
    network = replace(
        as_config(flags),
        gpu_ids=options.gpu_ids,
        batchsize=options.batchsize,
        runtime=options.runtime,
    )
    run = find.run_of(network)
    remembered = known_network(index).get("name") == run  # else the options ask for it
    if run and remembered and not RunFolder(run).options_file.exists():
        raise UserError(
            f"{index.path}: its network is the run {run}, which is not in {Path.cwd()}. "
            f"Go to the folder that holds model/{run}."
        )
    embedder = find.open_embedder(network, limits=limits_of_bits(flags.get("bits")))
    check_same_network(index, embedder, flags)
    return embedder


def network_of(index: Gallery) -> TestConfig:
    """Return the network that an index remembers, or the default one."""
    return as_config(network_flags(index))


def measured_threshold(
    given: str | None, index: Gallery, score: str, camera_norm: bool = False
) -> float | None:
    """Return the threshold that an option gives, which is of the network of an index.

    score, camera_norm: what it is compared with, see load_threshold.
    Raises UserError for one that was measured on another network, or for another score.
    """
    if given is None:
        return None
    network = network_of(index)
    features = find.network_name(network), find.feature_flags(network)
    return load_threshold(given, *features, score=score, camera_norm=camera_norm)


def network_flags(index: Gallery, options: Options | None = None) -> dict[str, Any]:
    """Return {flag of test.py: value} of an index's network.

    A new index has the network that the options name.

    Raises UserError for options that contradict what the index remembers.
    """
    named = (*OF_FEATURES, "bits")
    given = options.given(named) if isinstance(options, TrainedNetwork) else {}
    if start := given.pop("from_run", None):
        given["name" if names_a_run(start) else "from"] = start
    for name in ("weights", "engine", "from"):
        if name in given and Path(given[name]).exists():
            given[name] = str(real(given[name]))
    if index.recall("network") is not None:
        return agreed(index, given)
    known = TestConfig.declared()
    defaults = {name: known[name].default for name in OF_FEATURES if name != "from_run"}
    return defaults | {"from": None, "name": default_name()} | given


def known_network(index: Gallery) -> dict[str, Any]:
    """Return the flags of the network that an index remembers, none for a new index.

    Raises UserError if the index holds something else in their place.
    """
    flags = index.recall("network") or {}
    plain = str | int | float | None
    fit = isinstance(flags, dict) and all(isinstance(value, plain) for value in flags.values())
    if fit and flags.get("bits") in (None, *range(1, 33)):
        return dict(flags)
    raise UserError(f"{index.path}: damaged: it says {flags!r:.100} of its network.")


def as_config(flags: Mapping[str, Any]) -> TestConfig:
    """Return the options of test.py for flags that an index remembers, perhaps of version 0.2."""
    values = {"from_run" if name == "from" else name: value for name, value in flags.items()}
    if any(values.get(name) for name in ("from_run", "backbone", "engine")):
        values["name"] = None  # it was only the default
    known = TestConfig.declared()
    given = {name: value for name, value in values.items() if name in known and value is not None}
    return configured(TestConfig, given)


def check_same_network(index: Gallery, embedder: Embedder, flags: dict[str, Any]) -> None:
    """Check that the index holds features of this embedder's network.

    The index keeps the feature of a synthetic image for that.

    flags: {flag of test.py: value} that name the network; a new index remembers them. Raises
    UserError if the index belongs to another network, to other weights, or to other flags.
    """
    probe = embedder.probe()
    if len(index) and index.recall("network") is None:
        log.warning(
            "%s: it does not say which network indexed its %d images. Was it this one?",
            index.path,
            len(index),
        )
    known = index.remember({"network": flags, "probe": probe.tolist()})
    agreed(index, flags)
    kept = as_float32(known["probe"], f"{index.path}: damaged: the feature of its test image")
    if kept.shape != probe.shape or not probe @ kept >= SAME_PICTURE:
        raise UserError(
            f"{index.path}: its features were made by another network "
            f"({_words(known['network'])}), or its weights have changed since. {_again(index)}"
        )


def agreed(index: Gallery, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of an index's network, as the index remembers them.

    `flags` may say where the network is now.

    Raises UserError, which lists them, for flags that contradict what the index remembers.
    """
    remembered = known_network(index)
    place = next((name for name in ("engine", "from", "weights") if remembered.get(name)), "name")
    # The name is then only the default.
    typed = remembered if place == "name" else remembered | {"name": None}
    wrong = [
        f"{as_flag(name, NAMED_ALONE)} "
        f"(remembered: {_value(typed.get(name))}, asked: {_value(value)})"
        for name, value in flags.items()
        if _value(remembered.get(name)) != _value(value) and not (name == place and name in MOVABLE)
    ]
    if remembered and wrong:
        raise UserError(
            f"{index.path}: made with other flags: {', '.join(wrong)}. "
            f"Leave them out, or take another index. {_again(index)}"
        )
    return remembered | flags


def _again(index: Gallery) -> str:
    """Return how to go on with another network."""
    return (
        f"Index the images {'again' if len(index) else '(it holds none yet)'}: --index ANOTHER_FILE"
    )


def _words(flags: dict[str, Any]) -> str:
    """Return the network that the flags of test.py name, in words."""
    if flags.get("backbone"):
        return f"{flags['backbone']} {flags.get('weights')}"
    return str(flags.get("engine") or flags.get("name"))


def _value(value: Any) -> str:
    """Return the value of a flag in words."""
    return "off" if value is None or value is False else "on" if value is True else str(value)
