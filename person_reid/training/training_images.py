"""The training images: listed, decoded once, then drawn and augmented batch by batch."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from person_reid.arrays import Integers
from person_reid.config import FitOptions
from person_reid.data.images.augment import Augment, normalise, scale
from person_reid.data.images.bank import BatchSource, fingerprint, load_bank
from person_reid.data.layout import Split, join_splits, read_split
from person_reid.data.samplers import (
    SAMPLERS,
    BatchSampler,
    MakeSampler,
    PKSampler,
    expected_pairs,
)
from person_reid.data.summary import remark_twins
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.losses.plan import pair_losses
from person_reid.text import counted

FEW_PAIRS = 0.25  # same-identity pairs per image of a batch; PK's 4 instances give 1.5
LONG_EPOCH = 1.5  # repeats because of one identity; the log warns about more
NO_BATCH = "The loader has no batch of two images or more to train on."
log = logging.getLogger(__name__)
Splits = Sequence[tuple[Path, Split]]
"""(folder, images) of each data set."""
ImageSource = Callable[[Tensor, torch.Generator], Tensor]
"""(indices, generator) → augmented images (B, 3, H, W)."""


class Batch(NamedTuple):
    """The images of one step, and the step's position in the run.

    images: (B, 3, H, W), augmented. targets: (B,), their classes. indices: (B,), their indices in
    the split. These tensors are on the training device. epoch, step: counted from 0; step begins
    again with every epoch. seed: seeds everything random in this step, such as dropout.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    epoch: int
    step: int
    seed: int


class Batches:
    """The training batches for a training step.

    All randomness of a step depends only on (seed, epoch, step, rank).
    """

    fingerprint = ""
    validation: tuple[Tensor, Tensor] | None = None

    def __init__(
        self, options: FitOptions, device: torch.device, world: World | None = None, seed: int = 0
    ) -> None:
        self.options = options
        self.device = device
        self.seed = seed
        self.world = world or World()

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        raise NotImplementedError

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from step `first` on. epoch: counted from 0."""
        raise NotImplementedError

    def example_batch(self) -> Tensor:
        """Return a few images (B, 3, H, W), not augmented."""
        raise NotImplementedError

    def size_of(self, epoch: int) -> tuple[int, int] | None:
        """Return the (height, width) of an epoch's images, or None if they are not resized."""
        return None

    def seed_of(self, epoch: int, step: int) -> int:
        """Return the seed of this process's random numbers in a step."""
        entropy = np.random.SeedSequence((self.seed, epoch, step, self.world.rank))
        return int(entropy.generate_state(1, np.uint64)[0]) >> 1


class LoadedBatches(Batches):
    """The unchanged batches from a DataLoader of (images, identities, …).

    images: float (B, 3, H, W), normalised as the network expects. identities: (B,), the classes,
    from 0. The loader uses its own generator or torch's. A batch of one image is skipped, because
    batch norms cannot use it. Raises UserError for a loader without a length or without batches.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        classes: int,
        options: FitOptions,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        super().__init__(options, device, seed=seed)
        self.loader, self.classes = loader, classes
        streams = isinstance(loader.dataset, IterableDataset)
        images: Any = loader.dataset if streams else loader.sampler
        try:
            self.steps = len(loader)
            last = len(images) % loader.batch_size if loader.batch_size else 0
        except TypeError as error:  # a stream has no length
            raise UserError(
                f"The loader does not know how many batches it has ({error}), which the learning "
                "rate follows. Give its dataset a __len__."
            ) from None
        if last == 1 and not loader.drop_last:
            log.warning("The last batch of the loader is a single image, and is skipped.")
            self.steps -= 1
        if self.steps < 1 or loader.batch_size == 1:
            raise UserError(NO_BATCH)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        given = 0
        for step, (images, identities, *_) in enumerate(islice(self.loader, self.steps)):
            targets = torch.as_tensor(identities)
            self._check(images, targets)
            if len(targets) == 1:  # from a batch sampler, or a stream that ends early
                log.warning("A batch of the loader is a single image, and is skipped.")
                continue
            given += 1
            if step >= first:
                places = step * len(targets) + torch.arange(len(targets))
                images, targets, places = (
                    it.to(self.device, non_blocking=True) for it in (images, targets, places)
                )
                yield Batch(images.float(), targets, places, epoch, step, self.seed_of(epoch, step))
        if not given:
            raise UserError(NO_BATCH)

    def example_batch(self) -> Tensor:
        return next(iter(self.loader))[0].float()

    def _check(self, images: Any, targets: Tensor) -> None:
        """Raise UserError for a batch that no network could learn from."""
        shape = tuple(getattr(images, "shape", ()))
        if len(shape) != 4 or shape[1] != 3 or not images.is_floating_point():
            raise UserError(
                f"The loader gives images of {getattr(images, 'dtype', type(images).__name__)} "
                f"{shape}: expected normalised floating-point images (B, 3, H, W)."
            )
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
            raise UserError(
                f"The loader gives identities from {int(targets.min())} to {int(targets.max())}, "
                f"and the network has {self.classes} classes: expected classes from 0 on."
            )


class TrainingImages(Batches):
    """The images that a run trains on.

    splits: the data sets. options: how images are augmented and put into batches.
    device: where batches are made. world: the processes that train together. seed: seeds everything
        random. sampler: makes the sampler instead of options.sampler. source: (indices, generator)
        → augmented images (B, 3, H, W), instead of the files.
    The images are listed immediately, decoded by `decode`, and yielded by `epoch`.
    """

    def __init__(
        self,
        splits: Splits,
        options: FitOptions,
        device: torch.device,
        world: World | None = None,
        seed: int = 0,
        sampler: MakeSampler | None = None,
        source: ImageSource | None = None,
    ) -> None:
        super().__init__(options, device, world, seed)
        self.splits, self.split = splits, join_splits(splits)
        if self.world.is_main:
            remark_twins(splits)
        self.num_classes = len(self.split.classes)
        self.fingerprint = fingerprint(self.split.paths, times=False)
        self.sampler = self._sampler(sampler)
        self.source, self.decodes = source, source is None
        self.targets = torch.from_numpy(self.split.targets).to(device)
        self.sizes = options.sizes
        self.val = self._listed_val() if self.decodes else None

    bank: Tensor | None = None

    def _sampler(self, make: MakeSampler | None) -> BatchSampler:
        """Return the sampler that chooses each step's images."""
        if not make and self.options.sampler == "shuffle":
            self._warn_of_few_pairs()
        make = make or SAMPLERS.named(self.options.sampler)
        sampler = make(self.split, self.options, self.seed, self.world.rank, self.world.size)
        shown = len(sampler) * self.options.batchsize * self.world.size
        if isinstance(sampler, PKSampler) and self.world.is_main and sampler.repeats > LONG_EPOCH:
            log.warning(
                "An epoch shows %d images, %.1f times as many as there are: the identity with most "
                "images, %d, is in each batch once. Take some of these away, or --sampler shuffle.",
                shown,
                shown / len(self.split),
                np.bincount(self.split.targets).max(),
            )
        return sampler

    def _warn_of_few_pairs(self) -> None:
        """Log a hint if shuffled batches contain hardly any pairs for the losses that need them."""
        batch = self.options.batchsize * self.world.size
        pairs = expected_pairs(self.split.targets, batch)
        losses = pair_losses(self.options)
        if losses and pairs < FEW_PAIRS * batch and self.world.is_main:
            log.info(
                "A shuffled batch of %d images holds %.1f pairs of one identity on average, "
                "which is what %s learns from. "
                "--sampler pk puts %d images of each identity into a batch.",
                batch,
                pairs,
                " + ".join(losses),
                self.options.instances,
            )

    def decode(self, size: tuple[int, int], padding: int = Augment.padding) -> None:
        """Decode all images, or open the caches beside them.

        size: (height, width). padding: see Augment. A custom source already has its images.
        """
        if not self.decodes:
            return
        banks = [self._bank_of(folder, split, size) for folder, split in self.splits]
        # One remains a memory-mapped file.
        self.bank = bank = banks[0] if len(banks) == 1 else torch.cat(banks)
        self.source = BatchSource(bank, Augment.of(self.options, *size, padding), self.device)
        if self.val is not None:
            val, targets = self.val
            known = torch.from_numpy(targets >= 0)
            bank = self._bank_of(self.splits[0][0].with_name("val"), val, size)
            self.validation = bank[known], torch.from_numpy(targets)[known]

    def _bank_of(self, folder: Path, split: Split, size: tuple[int, int]) -> Tensor:
        """Return the bank of a folder's images; its cache is beside the folder."""
        return load_bank(split.paths, *size, folder.parent / ".cache", folder.name)

    def _listed_val(self) -> tuple[Split, Integers] | None:
        """Return the images of `val` and their targets (N,), -1 for identities not trained on.

        With --train_all, they are training images and cannot be used for validation. Returns None
        if none are left; the log gives the reason, or reports skipped images.
        """
        root = self.splits[0][0].parent
        folder = root / "val"
        if not folder.is_dir():
            log.info("No validation: there is no folder %s.", folder)
            return None
        split = read_split(root, "val", cameras_required=False)
        # `train_all` has them under the same names, as links or copies.
        trained = {(path.parent.name, path.name): path for path in self.splits[0][1].paths}
        pairs = ((path, trained.get((path.parent.name, path.name))) for path in split.paths)
        if all(same and same.stat().st_size == path.stat().st_size for path, same in pairs):
            log.info("No validation: the images in %s are trained on.", folder)
            return None
        position = {name: index for index, name in enumerate(self.split.classes)}
        targets = np.array([position.get(split.classes[target], -1) for target in split.targets])
        if not (targets >= 0).any():
            log.warning("No validation: none of the identities in %s is trained on.", folder)
            return None
        if dropped := sorted({split.classes[i] for i in split.targets[targets < 0]}):
            log.warning(
                "Validation skips %d of %d images in %s, of %s not trained on, such as %s.",
                (targets < 0).sum(),
                len(split),
                folder,
                counted(len(dropped), "identity", "identities"),
                dropped[0],
            )
        return split, targets

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        assert self.source, "images are decoded first"
        generator = torch.Generator(self.device)
        size = self.size_of(epoch)
        for step, indices in enumerate(self.sampler.batches(epoch)):
            if step >= first:
                seed = self.seed_of(epoch, step)
                generator.manual_seed(seed)
                images = scale(self.source(indices, generator), size)
                indices = indices.to(self.device, non_blocking=True)
                yield Batch(images, self.targets[indices], indices, epoch, step, seed)

    def paths_of(self, epoch: int, step: int) -> list[Path]:
        """Return the paths of a step's images in all processes."""
        paths = []
        for rank in range(self.world.size):
            sampler = copy.copy(self.sampler)
            sampler.rank = rank
            batch = next(islice(sampler.batches(epoch), step, None))
            paths += [self.split.paths[index] for index in batch]
        return paths

    def example_batch(self) -> Tensor:
        indices = torch.arange(min(self.options.batchsize, len(self.split)))
        if self.bank is not None:
            return normalise(self.bank[indices].to(self.device))
        assert self.source, "images are decoded first"
        return self.source(indices, torch.Generator(self.device).manual_seed(self.seed))

    def size_of(self, epoch: int) -> tuple[int, int] | None:
        begun = [size for begin, size in self.sizes if begin <= epoch]
        return begun[-1] if begun else None
