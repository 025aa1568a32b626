"""List the images that a training uses, and open their banks."""

import logging
import os
from pathlib import Path

import numpy as np
import torch

from person_reid.basics import UserError, counted
from person_reid.data.augment import Augment
from person_reid.data.bank import load_bank
from person_reid.data.layout import Split, read_further_splits, read_split, read_training_splits
from person_reid.run_folder import RunFolder
from person_reid.training.spec import TrainSpec

log = logging.getLogger(__name__)


def read_images(spec: TrainSpec) -> list[tuple[Path, Split]]:
    """Return (folder, images) of each data set; a training without labels begins with the images that have none."""
    roots = spec.data.roots
    if spec.adapt:
        from person_reid.data.unlabelled import read_people

        return [read_people(roots[0], spec.adapt.cameras, spec.adapt.pattern), *read_further_splits(roots)]
    return read_training_splits(roots, spec.data.split)


def check_identities(spec: TrainSpec, split: Split) -> None:
    """Raise UserError for a single identity, which leaves nothing to tell apart.

    Without labels, clusters take the place of identities; a teacher or unlabelled images teach as well.
    """
    taught = spec.teacher or spec.data.unlabelled
    if len(split.classes) < 2 and not spec.adapt and not taught:
        raise UserError(
            f"{spec.data.roots[0] / spec.data.split}: a single identity, {split.classes[0]}, so there is "
            "nothing to learn. A network learns to tell two or more apart."
        )


def training_bank(spec: TrainSpec, splits: list[tuple[Path, Split]]) -> torch.Tensor:
    """Return the bank of the splits; images without labels have an order of their own, and so has their cache."""
    data, augment = spec.data, spec.data.augment
    banks = []
    if spec.adapt:
        otherwise = RunFolder(spec.name).path
        banks.append(unlabelled_bank(splits[0][1].paths, data.roots[0], augment, otherwise))
    size = augment.height, augment.width
    labelled = splits[len(banks) :]
    banks += [load_bank(part.paths, *size, folder.parent / ".cache", folder.name) for folder, part in labelled]
    return banks[0] if len(banks) == 1 else torch.cat(banks)  # a single bank remains a memory-mapped file


def unlabelled_bank(paths: list[Path], folder: Path, augment: Augment, otherwise: Path) -> torch.Tensor:
    """Return the bank of any folder of images; its cache lies there, or below `otherwise` if nobody may write there."""
    cache = folder / ".cache"
    if not cache.is_dir() and not os.access(folder, os.W_OK):
        cache = otherwise / ".cache"
    return load_bank(paths, augment.height, augment.width, cache, "unlabelled")


def validation_bank(root: Path, classes: list[str], augment: Augment) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return bank (N, H, W, 3) and targets (N,) of the trained identities in the val split.

    A line of the log says which images are left out, or why there is no validation (None).
    """
    folder = root / "val"
    if not folder.is_dir():
        log.info("No validation: there is no folder %s.", folder)
        return None
    split = read_split(root, "val", cameras_required=False)
    position = {name: index for index, name in enumerate(classes)}
    targets = np.array([position.get(split.classes[target], -1) for target in split.targets])
    known = np.flatnonzero(targets >= 0)
    if len(known) == 0:
        log.warning("No validation: none of the identities in %s is trained on.", folder)
        return None
    if dropped := sorted({split.classes[i] for i in split.targets[targets < 0]}):
        log.warning(
            "Validation leaves out %d of %d images in %s, of %s not trained on, such as %s.",
            len(split) - len(known), len(split), folder, counted(len(dropped), "identity", "identities"),
            dropped[0],
        )  # fmt: skip
    bank = load_bank(split.paths, augment.height, augment.width, root / ".cache", "val")
    return bank[torch.from_numpy(known)], torch.from_numpy(targets[known])
