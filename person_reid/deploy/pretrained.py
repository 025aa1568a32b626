"""Read a save_pretrained folder, local or on the Hugging Face hub.

Nothing in the folder is executed.
"""

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

from person_reid.config.network import NetworkOptions
from person_reid.config.tested import CONFIG_FILE
from person_reid.config.zoo import packaged
from person_reid.data.images.augment import MEAN, STD
from person_reid.deploy.load import NetworkToTest
from person_reid.errors import UserError, describe_error, first_line
from person_reid.files import SETTINGS_BYTES, checksum_of, content_of
from person_reid.models.factory import check_network, find_architecture
from person_reid.models.published.hub import quick_to_fail
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval.thresholds import load_bound, load_threshold
from person_reid.run_folder import MOST_CLASSES
from person_reid.text import parse_json

CARD = "README.md"
log = logging.getLogger(__name__)
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def open_pretrained(source: str | Path) -> NetworkToTest:
    """Find the network in a save_pretrained folder, local or on the Hugging Face hub.

    source: the folder, the name of a network in this package, or owner/name on the hub. Raises a
    one-line UserError for a folder that is damaged or was written by another program.
    """
    folder = find_folder(source)
    path, weights = folder / CONFIG_FILE, folder / SAFETENSORS
    try:
        config = parse_json(content_of(path, SETTINGS_BYTES))
        tested = _described(config, weights)
        found = checksum_of(weights)
        expected = config["sha256"]
        if config.get("threshold") is not None:
            load_threshold(path)
        load_bound(path)
    except OSError as error:
        raise UserError(
            f"{describe_error(error)}. Expected a folder from save_pretrained: "
            f"{CONFIG_FILE} and {SAFETENSORS}."
        ) from error
    except (UserError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not written by save_pretrained, or damaged ({describe_error(error)})."
        ) from error
    if found != expected:
        raise UserError(
            f"{weights}: not the weights that {CONFIG_FILE} describes: the checksums differ. "
            f"{'Install the package' if packaged(source) else 'Copy the folder'} again."
        )
    return tested


def local_folder(source: str | Path) -> Path | None:
    """Return the save_pretrained folder of a name, here or in this package, or None."""
    return Path(source) if Path(source, CONFIG_FILE).is_file() else packaged(source)


def find_folder(source: str | Path) -> Path:
    """Return a save_pretrained folder: local, in this package, or from the Hugging Face hub."""
    if folder := packaged(source):
        _tell_terms(folder)
        return folder
    return Path(source) if Path(source).is_dir() else _fetched(str(source))


@cache
def _tell_terms(folder: Path) -> None:
    """Log, once per process, the terms of the images that a packaged network was trained on."""
    log.info(
        "%s: a network in this package. Its training images are for research only: %s",
        folder.name,
        folder / CARD,
    )


def preprocessing(tested: NetworkToTest) -> dict[str, Any]:
    """Return the preprocessing to write to config.json."""
    (height, width), flips = tested.size, find_architecture(tested.spec.backbone).flips
    return {
        "height": height, "width": width, "resize": "bicubic", "channels": "RGB",
        "mean": list(MEAN), "std": list(STD), "mirrored_image_added": flips,
        "feature": "unit length",
    }  # fmt: skip


def _described(config: dict[str, Any], weights: Path) -> NetworkToTest:
    """Return the network that a config describes.

    Raises UserError, ValueError, TypeError or KeyError for an invalid config.
    """
    spec = NetworkOptions(**{name: config["network"][name] for name in NetworkOptions.declared()})
    classes, width = config["num_classes"], config["feature_size"]
    if classes is not None and (type(classes) is not int or not 1 <= classes <= MOST_CLASSES):
        raise ValueError(f"num_classes {classes!r}: expected a number from 1 to {MOST_CLASSES:,}")
    if type(width) is not int or width < 1:
        raise ValueError(f"feature_size {width!r}: expected a number of 1 or above")
    check_network(spec)
    tested = NetworkToTest(spec, weights, classes)
    for name, value in preprocessing(tested).items():
        if (found := config["preprocessing"][name]) != value or type(found) is not type(value):
            raise ValueError(f"preprocessing: {name} {found!r}: images are prepared with {value!r}")
    return tested


def _fetched(name: str) -> Path:
    """Download a model from the Hugging Face hub, or find it in the cache; return its folder.

    Raises UserError if neither works.
    """
    if not HUB_NAME.fullmatch(name):
        raise UserError(
            f"{name}: no such folder; expected one from save_pretrained, "
            "or owner/name on the Hugging Face hub."
        )
    from huggingface_hub import snapshot_download  # slow to import

    try:
        with quick_to_fail():
            return Path(snapshot_download(name, allow_patterns=[CONFIG_FILE, SAFETENSORS, CARD]))
    except Exception as error:  # the exception depends on the cause
        raise UserError(
            f"{name}: no such folder, and nothing was fetched from the Hugging Face hub "
            f"({first_line(error)}). Put {CONFIG_FILE} and {SAFETENSORS} "
            f"of https://huggingface.co/{name} into a folder, and name that folder."
        ) from error
