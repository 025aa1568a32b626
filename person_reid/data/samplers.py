"""Which images make which batch: a plain shuffle, or batches balanced over identities.

A sampler knows numbers alone, no image. `batches(epoch)` yields one LongTensor of image indices for every step, the
same for the same (seed, epoch) on every machine. With `world_size` ranks, `batch_size` is the share of one rank: all
ranks draw the same permutation, and one step of all ranks together is what one device would see with a batch
`world_size` times as large.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from person_reid.basics import UserError


class Sampler(Protocol):
    """Anything that puts images into batches."""

    def __len__(self) -> int:
        """Number of steps in an epoch, the same on every rank."""

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield the image indices of each step, LongTensor (B,)."""


class ShuffleSampler:
    """Every image once an epoch, in random order.

    count: number of images. batch_size: images of this rank in one step. drop_last: leave out the images that do not
    fill a step of all ranks; otherwise the last step is shorter, and where it does not divide among the ranks, images
    from the beginning of the permutation fill it up. Raises UserError where not one step can be filled.

    >>> [len(batch) for batch in ShuffleSampler(count=10, batch_size=4, drop_last=False).batches(epoch=0)]
    [4, 4, 2]
    """

    def __init__(self, count, batch_size, seed=0, drop_last=True, rank=0, world_size=1):
        self.count, self.step_size = count, batch_size * world_size
        self.seed, self.drop_last, self.rank, self.world_size = seed, drop_last, rank, world_size
        if count < (self.step_size if drop_last else 1):
            raise UserError(f"{count} images do not fill one batch of {self.step_size}: choose a smaller --batchsize.")

    def __len__(self):
        """Number of steps in an epoch, the same on every rank."""
        return self.count // self.step_size if self.drop_last else -(-self.count // self.step_size)

    def batches(self, epoch):
        """Yield the indices of each step, LongTensor (batch_size,), values in [0, count)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        for step in range(len(self)):
            indices = order[step * self.step_size : (step + 1) * self.step_size]
            missing = -len(indices) % self.world_size
            indices = np.concatenate([indices, np.resize(order, missing)])
            yield torch.from_numpy(np.split(indices, self.world_size)[self.rank]).long()


def expected_pairs(labels, batch_size):
    """How many pairs of one identity a shuffled batch holds on average.

        (B choose 2) · Σ over identities of n (n − 1) / N (N − 1)

    labels: (N,), of which n are of one identity. batch_size: B.
    """
    sizes = np.unique(np.asarray(labels), return_counts=True)[1].astype(float)
    chance = (sizes * (sizes - 1)).sum() / max(len(labels) * (len(labels) - 1), 1)
    return batch_size * (batch_size - 1) / 2 * chance


class PKSampler:
    """P identities × K images a step; every image at least once an epoch.

    labels: (N,) identity of each image. batch_size: P·K images of this rank in one step; the identities of a step are
    all different, also between the ranks. instances: K. cameras: (N,) camera of each image or None; given, the K
    images of an identity come from as many cameras as possible.

    An identity of n images is shuffled and dealt in ⌈n / K⌉ hands of K; the last hand, and the hands of a step that
    lacks identities, begin the deck again. An identity of fewer than K images therefore repeats some within a hand.
    Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017, section 2 (there without the
    promise to see every image).

    Raises UserError where batch_size is no multiple of `instances`, or there are fewer identities than a step needs.
    """

    def __init__(self, labels, batch_size, instances=4, seed=0, cameras=None, rank=0, world_size=1):
        if instances < 2 or batch_size % instances:
            raise UserError(
                f"--instances {instances} with --batchsize {batch_size}: expected at least 2 images of an identity, "
                "and a batch that is a multiple of them."
            )
        identities, self.labels, self.sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
        self.identities_per_step = batch_size // instances * world_size
        if len(identities) < self.identities_per_step:
            raise UserError(
                f"{len(identities)} identities do not fill one batch of {self.identities_per_step} identities × "
                f"{instances} images: choose a smaller --batchsize or more --instances."
            )
        self.cameras = np.zeros_like(self.labels) if cameras is None else np.asarray(cameras)
        self.instances, self.seed, self.rank, self.world_size = instances, seed, rank, world_size
        self.hands = -(-self.sizes // instances)

    def __len__(self):
        """Number of steps in an epoch: the fewest that show every image with no identity twice in one step."""
        return int(max(self.hands.max(), -(-self.hands.sum() // self.identities_per_step)))

    def batches(self, epoch):
        """Yield the indices of each step, LongTensor (P·K,), the K images of an identity side by side."""
        random = np.random.default_rng((self.seed, epoch))
        order, starts = self._shuffle_decks(random), np.cumsum(self.sizes) - self.sizes
        dealt = np.zeros_like(self.sizes)
        for steps_left in range(len(self), 0, -1):
            chosen = self._choose_identities(self.hands - dealt, steps_left, random)
            cards = dealt[chosen, None] * self.instances + np.arange(self.instances)  # (P, K)
            indices = order[starts[chosen, None] + cards % self.sizes[chosen, None]]
            dealt[chosen] += 1
            yield torch.from_numpy(np.split(indices, self.world_size)[self.rank].reshape(-1))

    def _shuffle_decks(self, random):
        """Image indices (N,): the identities one after the other, each identity's images in random order.

        With cameras, the images of a camera are spread over all hands of their identity: sorted by camera, they are
        dealt to one hand after the other.
        """
        order = np.lexsort((random.random(len(self.labels)), self.cameras, self.labels))
        labels = self.labels[order]
        position = np.arange(len(order)) - (np.cumsum(self.sizes) - self.sizes)[labels]
        hand = position % self.hands[labels]
        return order[np.lexsort((random.random(len(order)), hand, labels))]

    def _choose_identities(self, hands_left, steps_left, random):
        """P identities, each drawn in proportion to the hands it still has (Gumbel top-k).

        An identity with as many hands as there are steps left must be in each of them, and one without any hand left
        only fills up a step that would be too small.
        """
        with np.errstate(divide="ignore"):
            score = np.log(np.maximum(hands_left, 0)) + random.gumbel(size=len(hands_left))
        score[hands_left == steps_left] = np.inf
        fill = hands_left <= 0
        score[fill] = -1e9 + random.random(fill.sum())
        return np.argsort(-score, kind="stable")[: self.identities_per_step]
