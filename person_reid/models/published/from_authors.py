"""Backbones that this suite builds as their authors' code does.

They are IBN-Net, OSNet, the transformers of TransReID and SOLIDER, and the ResNets of CLIP-ReID and
fast-reid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from person_reid.config.zoo import zoo
from person_reid.errors import UserError
from person_reid.models.architecture import OTHER_WEIGHTS, Architecture, file_in_cache
from person_reid.models.from_torchvision import TorchvisionArchitecture

if TYPE_CHECKING:
    from torch import Tensor, nn

OSNET_ZOO = "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO"


@dataclass(frozen=True)
class IBNArchitecture(TorchvisionArchitecture):
    """An IBN-Net, a ResNet with instance norms.

    variant: ibn_a or ibn_b of models.ibn. depth: 50 or 101.
    """

    terms = "MIT"

    variant: str = "ibn_a"
    depth: int = 50

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        import torch

        from person_reid.models import ibn

        module = getattr(ibn, self.variant)(self.depth)
        if pretrained:
            weights = torch.hub.load_state_dict_from_url(
                ibn.IBN_WEIGHTS[self.name], map_location="cpu", weights_only=True
            )
            module.load_state_dict(weights)
        return module

    def source(self) -> str:
        from person_reid.models import ibn

        return file_in_cache(ibn.IBN_WEIGHTS[self.name])


@dataclass(frozen=True)
class OSNetArchitecture(Architecture):
    """An OSNet. width: the multiplier of its channels; variant: plain, ibn or ain."""

    terms = "MIT"

    width: float = 1.0
    variant: str = "plain"

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.osnet import OSNet, OSNetAIN
        from person_reid.models.published.hub import weight_file
        from person_reid.models.weight_files import read_state_dict
        from person_reid.models.weights import load_matching

        ain, ibn = self.variant == "ain", self.variant == "ibn"
        module = OSNetAIN(self.width) if ain else OSNet(self.width, ibn)
        if pretrained:
            named = f"{self.name}_imagenet"
            file = weight_file(named) if zoo()[named].hub else self._file()
            if not file.exists():
                raise UserError(
                    f"{file}: no such file, and these ImageNet weights cannot be downloaded "
                    f"automatically. {self.source()} {OTHER_WEIGHTS}"
                )
            load_matching(module, read_state_dict(file))
        return module

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        return module.fc(pooled)

    def keep_resolution(self, module: Any, size: tuple[int, int]) -> None:
        """Remove the last 2×2 average, which ends stage conv3."""
        from torch import nn

        transition = module.pool3 if hasattr(module, "pool3") else module.conv3[2]
        transition[1] = nn.Identity()

    def source(self) -> str:
        return (
            f"Take {self._file().name} from the authors' model zoo ({OSNET_ZOO}) and put it there."
        )

    def _file(self) -> Path:
        import torch

        return Path(torch.hub.get_dir(), "checkpoints", f"{self.name}_imagenet.pth")


def osnet(name: str, width: float, variant: str = "plain") -> Architecture:
    """Return the architecture of an OSNet, whose feature has 512 dimensions at any width."""
    return OSNetArchitecture(name, 512, channels=int(512 * width), width=width, variant=variant)


@dataclass(frozen=True)
class FamilyArchitecture(Architecture):
    """A network from a paper; only the paper's authors distribute its weights."""

    terms = "none; docs/published-networks.md has its authors' licence"

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        if pretrained:
            raise UserError(f"{self.name} has only the weights of its authors. {OTHER_WEIGHTS}")
        return self.create(size, drop_path)

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        """Create the network with random weights."""
        raise NotImplementedError


@dataclass(frozen=True)
class OSNetLCTArchitecture(FamilyArchitecture):
    """An OSNet with linear context transforms. width: the multiplier of its channels."""

    _: KW_ONLY
    width: float = 1.0

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.osnet_lct import OSNetLCT

        return OSNetLCT(self.width, size)

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        return module.fc(pooled)


@dataclass(frozen=True)
class TransReIDArchitecture(FamilyArchitecture):
    """A transformer from models.transreid.

    feature_of: what the authors test, the `feature` of PersonTransformer. stride: pixels between
    patches. stem: whether convolutions precede the patches. half_range: whether pixels are from -1
    to 1. settings: for timm's transformer.
    """

    _: KW_ONLY
    feature_of: str = "token"
    stride: int = 16
    stem: bool = False
    half_range: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        from functools import partial

        from person_reid.models.published.transreid import Patches, PersonTransformer

        return PersonTransformer(
            self.feature_of,
            img_size=size,
            drop_path_rate=drop_path,
            embed_layer=partial(
                Patches,
                stride=self.stride,
                convolutions=self.stem,
                half_range=self.half_range,
            ),
            **self.settings,
        )

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module.feature_map(images)

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        if self.dim != self.channels:
            raise self.not_pooled()
        return pooled

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        from person_reid.models.published.transreid import timm_names_of_authors

        return timm_names_of_authors(state_dict)

    def adopt(self, module: Any, state_dict: dict[str, Tensor]) -> None:
        import torch

        for name in ("sie_embed", "model.sie_embed"):
            if name in state_dict:
                module.sie_embed = torch.nn.Parameter(torch.zeros(state_dict[name].shape))


@dataclass(frozen=True)
class FastReIDArchitecture(FamilyArchitecture):
    """A ResNet from fast-reid.

    layers, ibn, non_local: arguments of models.fastreid.resnet.
    split: whether it is a ResNeSt instead.
    branched: whether it is the MGN.
    of_luperson: whether it is LUPerson's MGN.
    """

    _: KW_ONLY
    layers: tuple[int, ...] = (3, 4, 6, 3)
    ibn: bool = False
    non_local: tuple[int, ...] = (0, 0, 0, 0)
    split: bool = False
    branched: bool = False
    of_luperson: bool = False

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.published.fastreid import FastReIDMGN, resnest, resnet

        if self.split:
            return resnest()
        network = resnet(self.layers, self.ibn, self.non_local)
        return FastReIDMGN(network, self.of_luperson) if self.branched else network

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        from person_reid.models.published.fastreid import feature_map

        if self.split or self.branched:
            return module.forward_features(images)
        return feature_map(module, images)

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        if self.branched:
            raise self.not_pooled()
        return pooled


@dataclass(frozen=True)
class SoliderArchitecture(FamilyArchitecture):
    """A Swin Transformer from SOLIDER. settings: arguments for timm's transformer."""

    _: KW_ONLY
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.published.transreid import SemanticSwin

        return SemanticSwin(img_size=size, drop_path_rate=drop_path, **self.settings)

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module.forward_features(images).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ClipResNetArchitecture(FamilyArchitecture):
    """CLIP-ReID's ResNet. layers: the number of blocks in each stage."""

    _: KW_ONLY
    layers: tuple[int, ...] = (3, 4, 6, 3)

    def create(self, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.published.fastreid import ClipResNet

        return ClipResNet(size, self.layers)

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module.feature_map(images)

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        raise self.not_pooled()
