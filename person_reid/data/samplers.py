"""Choose the images for each batch: a plain shuffle, or batches balanced over identities.

A sampler handles only numbers, not images. `batches(epoch)` yields one LongTensor of image indices
per step, the same for the same (seed, epoch) on every machine. With `world_size` ranks,
`batch_size` is the share of one rank: all ranks draw the same permutation, and one step of all
ranks together equals one step of a single device whose batch is `world_size` times as large.
"""

from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from person_reid.config.train import SAMPLER_NAMES, BatchOptions
from person_reid.data.layout import Split
from person_reid.errors import UserError
from person_reid.registration import Registry


class BatchSampler(torch.utils.data.Sampler[list[int]]):
    """The base class of the samplers.

    A sampler also serves a DataLoader as its batch_sampler: each pass is the next epoch.
    """

    epoch = 0
    rank = 0

    def __len__(self) -> int:
        """Return the number of steps in an epoch, the same on every rank."""
        raise NotImplementedError

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield each step's indices."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return (indices.tolist() for indices in self.batches(epoch))


class ShuffleSampler(BatchSampler):
    """Draw every image once per epoch, in random order.

    Images that do not fill a step on all ranks are skipped.

    count: number of images.
    batch_size: images of this rank in one step.

    Raises UserError if not even one step can be filled.

    >>> [len(batch) for batch in ShuffleSampler(count=10, batch_size=4).batches(epoch=0)]
    [4, 4]
    """

    def __init__(
        self, count: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.count, self.step_size = count, batch_size * world_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        if count < self.step_size:
            raise UserError(
                f"{count} images do not fill one batch of {self.step_size}: "
                "choose a smaller batchsize."
            )

    def __len__(self) -> int:
        """Return the number of steps in an epoch, the same on every rank."""
        return self.count // self.step_size

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield each step's indices, a LongTensor (batch_size,) of values in [0, count)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        for step in range(len(self)):
            indices = order[step * self.step_size : (step + 1) * self.step_size]
            yield torch.from_numpy(np.split(indices, self.world_size)[self.rank]).long()


def expected_pairs(labels: npt.ArrayLike, batch_size: int) -> float:
    """Return the average number of same-identity pairs in a shuffled batch.

        (B choose 2) · Σ over identities of n (n − 1) / N (N − 1)

    labels: (N,), n of them for each identity.
    batch_size: B.
    """
    labels = np.asarray(labels)
    sizes = np.unique(labels, return_counts=True)[1].astype(float)
    chance = (sizes * (sizes - 1)).sum() / max(len(labels) * (len(labels) - 1), 1)
    return float(batch_size * (batch_size - 1) / 2 * chance)


class PKSampler(BatchSampler):
    """Draw P identities × K images per step, and every image at least once per epoch.

    labels: (N,) identity of each image.
    batch_size: P·K images of this rank in one step; the identities of a step all differ, even
    across ranks.
    instances: K.
    cameras: (N,) camera of each image. If given, the images of an identity from each camera are
        spread over its hands (below).

    The n images of an identity are shuffled and dealt in ⌈n / K⌉ hands of K. The last hand, and
    extra hands for a step that lacks identities, start again from the top of the deck, so an
    identity with fewer than K images repeats some within a hand. Hermans et al., In Defense of the
    Triplet Loss for Person Re-Identification, 2017, section 2 (which does not guarantee that every
    image is seen).

    Raises UserError if batch_size is not a multiple of `instances`, or if a step needs more
    identities than there are.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        batch_size: int,
        instances: int = 4,
        seed: int = 0,
        cameras: npt.ArrayLike | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if instances < 2 or batch_size % instances:
            raise UserError(
                f"instances={instances} with batchsize={batch_size}: "
                "expected at least 2 images per identity, "
                "and a batch size that is a multiple of that number."
            )
        identities, self.labels, self.sizes = np.unique(
            np.asarray(labels), return_inverse=True, return_counts=True
        )
        self.identities_per_step = batch_size // instances * world_size
        if len(identities) < self.identities_per_step:
            raise UserError(
                f"{len(identities)} identities do not fill one batch of {self.identities_per_step} "
                f"identities × {instances} images: "
                "choose a smaller batchsize or more instances."
            )
        self.cameras = np.zeros_like(self.labels) if cameras is None else np.asarray(cameras)
        self.instances = instances
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.hands = -(-self.sizes // instances)
        # how often an epoch shows every hand because one identity has so many
        self.repeats = self.hands.max() * self.identities_per_step / self.hands.sum()

    def __len__(self) -> int:
        """Return the number of steps in an epoch: the fewest that show every image.

        No identity appears twice in one step.
        """
        return int(max(self.hands.max(), -(-self.hands.sum() // self.identities_per_step)))

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield each step's indices, a LongTensor (P·K,).

        The K images of an identity are side by side.
        """
        random = np.random.default_rng((self.seed, epoch))
        order, starts = self._shuffle_decks(random), np.cumsum(self.sizes) - self.sizes
        dealt = np.zeros_like(self.sizes)
        for steps_left in range(len(self), 0, -1):
            chosen = self._choose_identities(self.hands - dealt, steps_left, random)
            cards = dealt[chosen, None] * self.instances + np.arange(self.instances)  # (P, K)
            indices = order[starts[chosen, None] + cards % self.sizes[chosen, None]]
            dealt[chosen] += 1
            yield torch.from_numpy(np.split(indices, self.world_size)[self.rank].reshape(-1))

    def _shuffle_decks(self, random: np.random.Generator) -> npt.NDArray[Any]:
        """Return image indices (N,), grouped by identity and in random order within each group.

        With cameras, the images of a camera are spread over all hands of their identity: sorted by
        camera, they are dealt to one hand after another.
        """
        order = np.lexsort((random.random(len(self.labels)), self.cameras, self.labels))
        labels = self.labels[order]
        position = np.arange(len(order)) - (np.cumsum(self.sizes) - self.sizes)[labels]
        hand = position % self.hands[labels]
        return order[np.lexsort((random.random(len(order)), hand, labels))]

    def _choose_identities(
        self, hands_left: npt.NDArray[Any], steps_left: int, random: np.random.Generator
    ) -> npt.NDArray[Any]:
        """Draw P identities, each with probability proportional to how many hands it has left.

        The draw is a Gumbel top-k. An identity with as many hands left as there are steps must be
        in every step, and one with no hands left only fills up a step that would be too small.
        """
        with np.errstate(divide="ignore"):
            score = np.log(np.maximum(hands_left, 0)) + random.gumbel(size=len(hands_left))
        score[hands_left == steps_left] = np.inf
        fill = hands_left <= 0
        score[fill] = -1e9 + random.random(fill.sum())
        return np.argsort(-score, kind="stable")[: self.identities_per_step]


class ClusterSampler(BatchSampler):
    """Draw `steps` batches of P clusters × K images per epoch.

    `assign` sets, before an epoch, which images form the clusters.

    batch_size, instances, seed, cameras, rank, world_size: see PKSampler, whose epochs are
        concatenated here. If there are fewer than P clusters, a batch holds them all and is
        smaller. `labels` is (N,) int64, -1 for images in no batch; at first, all are -1.

    parts: (N,), the set to which each image belongs; each set has an equal share of the clusters in
        a batch.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        instances: int,
        steps: int,
        seed: int = 0,
        cameras: npt.ArrayLike | None = None,
        rank: int = 0,
        world_size: int = 1,
        parts: npt.ArrayLike | None = None,
    ) -> None:
        self.labels = np.full(num_images, -1, np.int64)
        self.parts = np.zeros(num_images, np.int64) if parts is None else np.asarray(parts)
        least = instances * len(np.unique(self.parts))
        if batch_size < least:
            raise UserError(
                f"batchsize={batch_size}: expected at least {least}: "
                f"instances={instances} for each of {least // instances} sets of images."
            )
        self.batch_size = batch_size
        self.instances = instances
        self.steps = steps
        self.seed = seed
        self.cameras = np.zeros(num_images, np.int64) if cameras is None else np.asarray(cameras)
        self.rank, self.world_size = rank, world_size

    def assign(self, labels: npt.NDArray[np.int64]) -> None:
        """Set each image's cluster number, `labels` (N,).

        Raises UserError unless every process gets two clusters per step.
        """
        shown = [labels[(labels >= 0) & (self.parts == part)] for part in np.unique(self.parts)]
        clusters = min(len(np.unique(part)) for part in shown)
        if clusters < 2 * self.world_size:
            raise UserError(
                f"{clusters} cluster(s) of {len(labels)} images: nothing tells people apart. "
                "Expected images of some dozens of people, several of each. "
                "A larger radius or a smaller min_samples finds more clusters "
                "if there are none, a smaller radius if there is one."
            )
        self.labels = labels

    def __len__(self) -> int:
        """Return the number of steps in an epoch, the same on every rank."""
        return self.steps

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield each step's indices, a LongTensor (P·K,).

        The K images of a cluster are side by side.
        """
        parts = np.unique(self.parts)
        streams = [
            self._of(
                np.flatnonzero((self.labels >= 0) & (self.parts == part)),
                self.batch_size // len(parts),
                epoch,
            )
            for part in parts
        ]
        yield from map(torch.cat, islice(zip(*streams, strict=True), self.steps))

    def _of(
        self, shown: npt.NDArray[np.int64], batch_size: int, epoch: int
    ) -> Iterator[torch.Tensor]:
        """Yield batches of the images `shown`, endlessly.

        All images of a cluster are shown equally often.
        """
        clusters = min(
            batch_size // self.instances, len(np.unique(self.labels[shown])) // self.world_size
        )
        sampler = PKSampler(
            self.labels[shown],
            clusters * self.instances,
            self.instances,
            self.seed,
            self.cameras[shown],
            self.rank,
            self.world_size,
        )
        passes = (sampler.batches(epoch * self.steps + number) for number in count())
        for indices in chain.from_iterable(passes):
            yield torch.from_numpy(shown)[indices]


MakeSampler = Callable[[Split, BatchOptions, int, int, int], BatchSampler]
"""(images, options, seed, rank, world_size) → what chooses the images of each step."""


def _shuffled(
    images: Split, options: BatchOptions, seed: int, rank: int, world_size: int
) -> ShuffleSampler:
    return ShuffleSampler(len(images), options.batchsize, seed, rank, world_size)


def _balanced(
    images: Split, options: BatchOptions, seed: int, rank: int, world_size: int
) -> PKSampler:
    cameras = images.cameras if options.sampler == "pk_camera" else None
    return PKSampler(
        images.targets, options.batchsize, options.instances, seed, cameras, rank, world_size
    )


SAMPLERS: Registry[MakeSampler] = Registry(
    "sampler", {"shuffle": _shuffled, "pk": _balanced, "pk_camera": _balanced}, SAMPLER_NAMES
)


def register_sampler(name: str, make: MakeSampler) -> None:
    """Register a sampler under a name for --sampler.

    make: the class, or a function: (images, options, seed, rank, world_size) → BatchSampler, whose
    `batches(epoch)` depend on nothing else, so that a resumed run gets the same images.
    """
    SAMPLERS.register(name, make)
