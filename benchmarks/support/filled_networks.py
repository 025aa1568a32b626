"""The networks of published papers, with weights that a rule fills in.

benchmarks/peers/families.py writes the record of each from its authors' code.
"""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.measure import ROOT
from person_reid.deploy.embedder import Embedder
from person_reid.models.published.families import FAMILIES

FIXTURE = ROOT / "tests" / "fixtures" / "families.json"


def filled(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of a tensor by the rule that the published features were made with."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if "running_var" in name:
        value = random.uniform(0.5, 1.5, shape)
    elif "running_mean" in name:
        value = random.normal(size=shape) * 0.1
    elif len(shape) >= 2:
        value = random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("bias"):
        value = random.normal(size=shape) * 0.05
    else:
        value = random.uniform(0.8, 1.2, shape)
    return torch.from_numpy(np.asarray(value, np.float32))


def images_of(size: tuple[int, int]) -> np.ndarray:
    """Two photographs by the rule, uint8 (2, H, W, 3), twice as high as the network's images."""
    blocks = np.random.default_rng(0).integers(0, 256, (2, 16, 8, 3), np.uint8)
    height, width = 2 * size[0], 2 * size[1]
    return blocks.repeat(height // 16, 1).repeat(width // 8, 2)


def authors_weights(record: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict of the authors' network, filled by the rule."""
    return {name: filled(name, tuple(shape)) for name, shape in record["shapes"].items()}


def family_entry(record: dict[str, Any]) -> str:
    """Add a shrunken network to the table of families if the record is of one; returns its name."""
    changes = dict(record["changes"])
    if not changes:
        return record["backbone"]
    name = f"shrunken {record['backbone']}"
    FAMILIES[name] = replace(FAMILIES[record["backbone"]], **changes)
    return name


def our_features(record: dict[str, Any], weights: Path) -> np.ndarray:
    """The features (2, D) of the photographs, as Embedder gives them from a weight file."""
    size, cameras = record["size"], record["cameras"]
    unit = bool(record.get("unit"))
    embed = Embedder(
        family_entry(record), weights=weights, device="cpu", size=tuple(size), unit_length=unit
    )
    images = images_of(size)
    return embed(list(images), cameras=np.array(cameras) if cameras else None)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the spread (standard deviation) of what is expected."""
    return float(np.abs(found - expected).max() / expected.std())
