"""What there is to know about a backbone: how it is built, where its feature map is, whose weights it starts from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from person_reid.basics import UserError

PERSON = (256, 128)


@dataclass(frozen=True)
class Backbone:
    """How to build a network and how to use it.

    build: build(pretrained, size, drop_path) → the library's module. One without stochastic depth ignores drop_path.
    dim: width D of its feature.
    maps: maps(module, images (B, 3, H, W)) → the last feature map (B, channels, h, w), tokens without a grid as
        (B, channels, N, 1); None for a network that shows none.
    channels: of the map, D unless said.
    after: after(module, pooled (B, channels)) → (B, D), what the network does between pooling and feature.
    embed: embed(module, images) → (B, D), the network's own feature if that is not `after` the mean of `maps`.
    size: (height, width) of the input, unless other sizes are asked for.
    drop_path: stochastic depth in training, unless another is asked for.
    keep_resolution: keep_resolution(module, maps, size) changes a module in place so that the last stage keeps its
        resolution (`--stride 1`); None if that has no meaning.
    source: source() → which file holds its ImageNet weights, and where to put it.
    licence: licence() → the licence of those weights.
    """

    build: Callable
    dim: int
    maps: Callable | None = None
    channels: int = 0
    after: Callable = lambda module, pooled: pooled
    embed: Callable | None = None
    size: tuple[int, int] = PERSON
    drop_path: float = 0.0
    keep_resolution: Callable | None = None
    source: Callable[[], str] = lambda: ""
    licence: Callable[[], str] = lambda: "unknown"

    def __post_init__(self):
        if not self.channels:
            object.__setattr__(self, "channels", self.dim)

    def feature(self, module, images, pooling=None):
        """(B, 3, H, W) images → (B, dim), pooled by `pooling`, (B, channels, h, w) → (B, channels), or else as the
        network's library pools. Raises UserError for a pooling where there is no map to pool."""
        if pooling is None and self.embed:
            return self.embed(module, images)
        if self.maps is None:
            raise UserError("--pool: this network shows no feature map to pool; leave --pool out.")
        maps = self.maps(module, images)
        return self.after(module, maps.mean((2, 3)) if pooling is None else pooling(maps))


def feature_map(module, images):
    """(B, 3, H, W) → (B, C, h, w): the last map of a convolutional network."""
    return module.forward_features(images)


def call(module, images):
    """The feature of a module that is asked for nothing else."""
    return module(images)


def stochastic_depth(module):
    """The probabilities with which a module leaves out its blocks in training, in order; empty if it never does."""
    from timm.layers import DropPath
    from torchvision.ops import StochasticDepth

    rates = [
        layer.drop_prob if isinstance(layer, DropPath) else layer.p
        for layer in module.modules()
        if isinstance(layer, (DropPath, StochasticDepth))
    ]
    connect = getattr(getattr(module, "_global_params", None), "drop_connect_rate", None)  # of efficientnet_pytorch
    return [*rates, connect] if connect else rates


def file_in_cache(url):
    """Where the file of a URL comes from and where torch.hub, and what is built on it, looks for it."""
    return f"Download {url} into {torch.hub.get_dir()}/checkpoints/."
