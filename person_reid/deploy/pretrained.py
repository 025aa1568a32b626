"""Read a folder that save_pretrained wrote, or one like it on the Hugging Face hub. Nothing in it is executed."""

import hashlib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from person_reid.basics import UserError, describe, first_line, parse_json
from person_reid.deploy.load import TestedNetwork
from person_reid.models.factory import check_network
from person_reid.models.spec import NetworkSpec
from person_reid.models.weights import SAFETENSORS
from person_reid.retrieval.thresholds import CONFIG as CONFIG

CARD = "README.md"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def open_pretrained(source: str | Path) -> TestedNetwork:
    """Find the network in a folder of save_pretrained, or in a model of that kind on the Hugging Face hub.

    source: the folder, or the hub's owner/name. Raises UserError, in one line, for a folder that is damaged or was
    written by another program.
    """
    folder = find_folder(source)
    path, weights = folder / CONFIG, folder / SAFETENSORS
    try:
        config = parse_json(path.read_bytes())
        spec, classes = _spec(config["network"]), config["num_classes"]
        if classes is not None and (type(classes) is not int or classes < 1):
            raise ValueError(f"num_classes {classes!r}")
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
        expected = config["sha256"]
    except OSError as error:
        raise UserError(
            f"{describe(error)}. Expected a folder from save_pretrained: {CONFIG} and {SAFETENSORS}."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not written by save_pretrained, or damaged ({describe(error)}).") from error
    if found != expected:
        raise UserError(
            f"{weights}: not the weights that {CONFIG} describes: the checksums differ. Copy the folder again."
        )
    check_network(spec)
    return TestedNetwork(spec, weights, classes)


def find_folder(source: str | Path) -> Path:
    """Return a folder of save_pretrained, fetched from the Hugging Face hub if there is none of that name here."""
    return Path(source) if Path(source).is_dir() else _fetched(str(source))


def _spec(found: dict[str, Any]) -> NetworkSpec:
    """Return the spec in a config. Raises ValueError for a value of another type, KeyError for one that is missing."""
    values = {field.name: found[field.name] for field in fields(NetworkSpec)}
    for field in fields(NetworkSpec):
        value, kinds = values[field.name], get_args(field.type) or (field.type,)
        if type(value) not in kinds and not (type(value) is int and float in kinds):
            raise ValueError(f"{field.name} {value!r}")
    return NetworkSpec(**values)


def _fetched(name: str) -> Path:
    """Return the folder of a model of the Hugging Face hub, fetched or in its cache. Raises UserError otherwise."""
    if not HUB_NAME.fullmatch(name):
        raise UserError(
            f"{name}: no such folder; expected one from save_pretrained, or owner/name on the Hugging Face hub."
        )
    from huggingface_hub import snapshot_download  # loads slowly

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, SAFETENSORS, CARD]))
    except Exception as error:  # each cause has an exception of its own
        raise UserError(
            f"{name}: no such folder, and nothing was fetched from the Hugging Face hub ({first_line(error)}). "
            f"Put {CONFIG} and {SAFETENSORS} of https://huggingface.co/{name} into a folder, and name that folder."
        ) from error
