"""An architecture: the plan of a network without its classifier.

It defines how to build the module, where its feature map is, and which weights it starts from.
torch is imported only where it is used, so that plans can be read without it.
"""

from __future__ import annotations

import fnmatch
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.error import URLError

from person_reid.config.zoo import network_names
from person_reid.errors import UserError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)
LIST = Path(__file__).with_name("networks.txt")  # written by tools/docs/networks.py
REGISTERED: list[str] = []  # the names that plugins register
PERSON = (256, 128)
# Layers of timm and torchvision that skip a block, by name to avoid an import, and the attribute
# with their probability.
PROBABILITIES = {"DropPath": "drop_prob", "StochasticDepth": "p"}
# Errors that transformers raise for images that do not divide into whole patches.
SIZE_ERRORS = (AssertionError, ZeroDivisionError)
OTHER_WEIGHTS = "Or name a file you have: weights=FILE, or begin with random weights: weights=none."


@dataclass(frozen=True)
class Architecture:
    """A network without its classifier.

    Each library has a subclass that builds and uses its networks.

    name: its name in the library. dim: the width D of its feature.
    channels: the channels of its last feature map; 0 stands for D.
    size: the default (height, width) of the input.
    drop_path: the default stochastic depth in training.
    has_map: whether it has a last feature map to pool.
    own_feature: whether calling the module gives a feature other than `after_pool` of the mean of
        its map.
    can_keep_resolution: whether `--stride 1` has a meaning for it.
    resize: how its authors resize test images: bicubic or bilinear.
    flips: whether the mirrored image's feature is added by default.
    foreign: prefixes of the names of tensors that only the file of a related network has.
    options: fields of NetworkOptions as its authors chose them; other values override them.
    terms: the licence of its ImageNet weights, if all networks of the library share one.
    """

    terms: ClassVar[str] = "unknown"
    name: str
    dim: int
    _: KW_ONLY
    channels: int = 0
    size: tuple[int, int] = PERSON
    drop_path: float = 0.0
    has_map: bool = True
    own_feature: bool = False
    can_keep_resolution: bool = True
    resize: str = "bicubic"
    flips: bool = True
    foreign: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.channels:
            object.__setattr__(self, "channels", self.dim)

    def build(
        self,
        pretrained: bool = False,
        size: tuple[int, int] | None = None,
        drop_path: float | None = None,
        stride: int = 2,
        called: str | None = None,
    ) -> nn.Module:
        """Build the module for images of `size` (height, width).

        pretrained: load ImageNet weights.
        drop_path: the probability of skipping the deepest block, and proportionally less for those
            before it (stochastic depth: Huang, Sun, Liu, Sedra, Weinberger, ECCV 2016); by default
            the architecture's.
        stride: 1 keeps the resolution of the last stage.
        called: the network's name in messages.

        Raises UserError if the weights cannot be fetched (the message names the file), or if stride
        1 or drop_path has no meaning for the network.
        """
        called, size = called or self.name, size or self.size
        if stride == 1 and not self.can_keep_resolution:
            raise UserError(f"stride=1 has no meaning for {called}; leave it out.")
        with fits_images(called, size):
            try:
                module = self.make(
                    pretrained, size, self.drop_path if drop_path is None else drop_path
                )
            # Each library, and each layer of the network stack below it, raises its own errors.
            except Exception as error:
                if not pretrained or isinstance(error, (UserError, *SIZE_ERRORS)):
                    raise
                reason = error.reason if isinstance(error, URLError) else first_line(error, 160)
                raise UserError(
                    f"The ImageNet weights of {called} are not in the cache and could not be "
                    f"fetched ({reason}). {self.source()} {OTHER_WEIGHTS}"
                ) from error
        if drop_path and not stochastic_depth(module):
            raise UserError(
                f"drop_path={drop_path}: {called} has no stochastic depth; leave it out."
            )
        if stride == 1:
            with fits_images(called, size):
                self.keep_resolution(module, size)
        return module

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        """Make the library's module for images of `size`, with ImageNet weights or random ones.

        A network without stochastic depth ignores drop_path.
        """
        raise NotImplementedError

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        """Compute the last feature map: (B, 3, H, W) → (B, channels, h, w).

        For tokens it is (B, channels, N, 1).
        """
        return module.forward_features(images)

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        """Apply the layers between the pooling and the feature: (B, channels) → (B, dim)."""
        return pooled

    def keep_resolution(self, module: nn.Module, size: tuple[int, int]) -> None:
        """Change a module in place so that its last stage keeps its resolution (`--stride 1`)."""
        from person_reid.models.surgery import keep_last_resolution

        keep_last_resolution(module, self.feature_map, size)

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors from the authors' file under the module's names."""
        return state_dict

    def adopt(self, module: Any, state_dict: dict[str, Tensor]) -> None:
        """Adapt a module to sizes that only its weight file gives, such as a number of cameras."""

    def converted(self, module: nn.Module, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert a file's tensors to the module's form, if the module's library can do so."""
        return state_dict

    def measured(self, module: nn.Module, size: tuple[int, int]) -> Architecture:
        """Return the plan, with facts added that only the module reveals; by default, unchanged."""
        return self

    def not_pooled(self) -> UserError:
        """Return the error to raise if a pooling is chosen but there is no map to pool."""
        return UserError(
            f"{self.name}: its feature is not pooled from a map: leave pool and PCB out."
        )

    def source(self) -> str:
        """Describe the file with the network's ImageNet weights, and where to put it."""
        return ""

    def licence(self) -> str:
        """Return the licence of the network's ImageNet weights."""
        return self.terms

    def feature(
        self,
        module: nn.Module,
        images: Tensor,
        pooling: Callable[[Tensor], Tensor] | None = None,
        sides: Tensor | None = None,
    ) -> Tensor:
        """Compute the feature: (B, 3, H, W) images → (B, dim).

        pooling: (B, channels, h, w) → (B, channels); None pools as the network's library does.
        sides: (B,) rows of the module's side information, if it has any; None takes its mean.
        Raises UserError for a pooling if the network has no map to pool.
        """
        if pooling is None and self.own_feature:
            return module(images) if sides is None else module(images, sides)
        if not self.has_map:
            raise UserError("This network has no feature map to pool; leave pool out.")
        maps = self.feature_map(module, images)
        return self.after_pool(module, maps.mean((2, 3)) if pooling is None else pooling(maps))


@dataclass(frozen=True)
class OwnArchitecture(Architecture):
    """A custom module, which returns a feature map or a feature for images.

    code: returns the module; its argument `pretrained`, if any, decides whether to load its own
    weights. The widths are found by running the module once.
    """

    dim: int = 0
    code: Callable[..., nn.Module] = field(kw_only=True)

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        if "pretrained" in inspect.signature(self.code).parameters:
            return self.code(pretrained=pretrained)
        if pretrained:
            log.info("%s begins with the weights that its own code gives it.", self.name)
        return self.code()

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module(images)

    def measured(self, module: nn.Module, size: tuple[int, int]) -> Architecture:
        import torch

        from person_reid.models.surgery import evaluation_mode

        images = torch.zeros(2, 3, *size, device=next(module.parameters()).device)
        with evaluation_mode(module), fits_images(self.name, size):
            found = module(images)
        shape = tuple(getattr(found, "shape", ()))
        if len(shape) == 4:
            return replace(self, dim=shape[1], channels=shape[1])
        if len(shape) == 2:
            return replace(self, dim=shape[1], channels=shape[1], has_map=False, own_feature=True)
        raise UserError(
            f"{self.name}: expected a feature map (B, C, h, w) or a feature (B, D) for images of "
            f"(B, 3, {size[0]}, {size[1]}), found {shape or type(found).__name__}."
        )


@contextmanager
def fits_images(
    name: str,
    size: tuple[int, int],
    batch_size: int | None = None,
    advice: str = "height and width",
) -> Iterator[None]:
    """Raise UserError if a network's layers reject the size of the images or of the batch.

    It replaces errors that the layers raise inside the with block.

    size: (height, width). advice: what to change.
    """
    try:
        yield
    except (RuntimeError, ValueError, *SIZE_ERRORS) as error:
        what = f"images of {size[0]}×{size[1]}"
        if batch_size is not None:
            what = f"batches of {batch_size} {what}"
        if isinstance(error, SIZE_ERRORS):
            advice = f"another {advice}"
        else:
            advice = f"a larger {advice}{', a larger batchsize' if batch_size is not None else ''}"
        reason = first_line(error).rstrip(".")
        if " channels, but got " in reason:
            raise UserError(
                f"{name}: a layer does not fit what it receives, of which images give 3 channels "
                f"({reason})."
            ) from error
        raise UserError(
            f"{name} cannot process {what} ({reason}). Try {advice}, or the defaults."
        ) from error


def stochastic_depth(module: nn.Module) -> list[float]:
    """Return the probabilities with which a module skips its blocks in training.

    The list is in the order of the blocks, and empty if the module skips none.
    """
    rates = [
        getattr(layer, PROBABILITIES[kind])
        for layer in module.modules()
        if (kind := type(layer).__name__) in PROBABILITIES
    ]
    # efficientnet_pytorch keeps the probability in its parameters.
    connect = getattr(getattr(module, "_global_params", None), "drop_connect_rate", None)
    return [*rates, connect] if connect else rates


def file_in_cache(url: str) -> str:
    """Say where to download a file, and that it belongs in torch.hub's folder."""
    import torch

    return f"Download {url} into {torch.hub.get_dir()}/checkpoints/."


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Return the names of this suite's networks, in the order of `python model.py`.

    timm's and torchvision's names also work.

    pattern: as for file names, such as "osnet*".
    pretrained: list the networks that have weights, in this package and published, by the names
        that `weights` accepts.

    >>> list_models("osnet_x*")
    ['osnet_x0_25', 'osnet_x0_5', 'osnet_x0_75', 'osnet_x1_0']
    """
    ours = [line.split()[0] for line in LIST.read_text(encoding="utf-8").splitlines()[1:-1]]
    return fnmatch.filter(network_names() if pretrained else [*ours, *REGISTERED], pattern)
