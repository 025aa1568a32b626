"""Backbones that this suite builds like their authors' code: IBN-Net and OSNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from person_reid.basics import UserError
from person_reid.models.backbone import Backbone, file_in_cache
from person_reid.models.from_torchvision import TorchvisionBackbone

if TYPE_CHECKING:
    from torch import Tensor, nn

OSNET_ZOO = "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO"


@dataclass(frozen=True)
class IBNBackbone(TorchvisionBackbone):
    """An IBN-Net, a ResNet with instance norms. variant: ibn_a or ibn_b
    of models.ibn; depth: 50 or 101.
    """

    variant: str = "ibn_a"
    depth: int = 50

    def build(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        import torch

        from person_reid.models import ibn

        module = getattr(ibn, self.variant)(self.depth)
        if pretrained:
            weights = torch.hub.load_state_dict_from_url(
                ibn.WEIGHTS[self.name], map_location="cpu", weights_only=True
            )
            module.load_state_dict(weights)
        return module

    def source(self) -> str:
        from person_reid.models import ibn

        return file_in_cache(ibn.WEIGHTS[self.name])

    def licence(self) -> str:
        return "MIT"


@dataclass(frozen=True)
class OSNetBackbone(Backbone):
    """An OSNet. width: the multiplier of its channels; variant: plain, ibn or ain."""

    width: float = 1.0
    variant: str = "plain"

    def build(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from person_reid.models.osnet import OSNet, OSNetAIN
        from person_reid.models.weight_files import read_state_dict
        from person_reid.models.weights import load_matching

        ain, ibn = self.variant == "ain", self.variant == "ibn"
        module = OSNetAIN(self.width) if ain else OSNet(self.width, ibn)
        if pretrained:
            file = self._file()
            if not file.is_file():
                raise UserError(
                    f"{file}: no such file, and OSNet's ImageNet weights "
                    "cannot be downloaded automatically. "
                    f"{self.source()} Or name a file you have with --weights FILE, or "
                    "start from random weights with "
                    "--weights none."
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

    def licence(self) -> str:
        return "MIT"

    def _file(self) -> Path:
        import torch

        return Path(torch.hub.get_dir(), "checkpoints", f"{self.name}_imagenet.pth")


def osnet(name: str, width: float, variant: str = "plain") -> Backbone:
    """Return the Backbone of an OSNet, whose feature has 512 numbers at any width."""
    return OSNetBackbone(name, 512, channels=int(512 * width), width=width, variant=variant)
