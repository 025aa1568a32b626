"""LightMBN, the lightweight multi-branch network.

It is an OSNet whose last stages branch into body, parts and channels.

Herzog, Ji, Teepe, Hörmann, Gilg, Rigoll: Lightweight Multi-Branch Network for Person
Re-Identification, ICIP 2021, section 3. The layers have the authors' names (in copied stages, after
`model.`), so their published weights load.
"""

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.config.network import NetworkOptions
from person_reid.models.architecture import Architecture
from person_reid.models.heads import (
    PUBLISHED_FEATURE,
    LossFeature,
    build_classifier,
    build_pooling,
    frozen_bias_norm,
    pool_stripes,
)
from person_reid.models.network import BranchedNetwork, per_part
from person_reid.models.osnet import OmniScaleBlock

LIGHTMBN_WIDTH = 512
DROPPED = 0.33  # share of the rows, in training
BRANCHES = ("global_branch", "partial_branch", "channel_branch")
STAGES = {r"backbone\.0": "conv1", r"backbone\.2": "conv2", r"backbone\.3": "conv3.0"} | {
    rf"\w+_branch\.{i}": stage for i, stage in enumerate(("conv3", "conv4", "conv5"))
}


class LightMBN(BranchedNetwork):
    """A network with seven features of width 512, each with its own BNNeck, from three branches.

    - global branch: its average, and its maximum after the strongest third of the rows was dropped
    (TopDrop);
    - part branch: its maximum, and the averages of its two halves;
    - channel branch: the averages of the two halves of its channels.

    The losses use three of them before the necks (B, 3, 512): body, dropped body and the whole of
    the part branch. The classifiers (B, 7, C) and the test use all seven after the necks; the test
    normalises each separately, as in the authors' code. --pool replaces all averages and maxima.
    """

    dim = 7 * LIGHTMBN_WIDTH
    metric_dim = LIGHTMBN_WIDTH
    parts = 3
    pieces = 7

    def __init__(
        self,
        module: Any,
        architecture: Architecture,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        trunk = nn.Sequential(module.conv1, module.maxpool, module.conv2, module.conv3[0])
        branch = nn.Sequential(module.conv3[1:], module.conv4, module.conv5)
        stages = {"backbone": trunk, **{name: copy.deepcopy(branch) for name in BRANCHES}}
        super().__init__(nn.ModuleDict(stages), architecture, spec, num_classes)
        channels = architecture.channels
        self.batch_drop_block = nn.ModuleDict(
            {"drop_batch_bottleneck": OmniScaleBlock(channels, channels)}
        )
        self.average = build_pooling(spec.pool or "avg")
        self.largest = build_pooling(spec.pool or "max")
        shared = nn.Conv2d(channels // 2, LIGHTMBN_WIDTH, 1, bias=False)
        nn.init.kaiming_normal_(shared.weight)
        self.shared = nn.Sequential(shared, nn.BatchNorm2d(LIGHTMBN_WIDTH), nn.ReLU())
        for i in range(5):
            self.add_module(f"reduction_{i}", Neck(spec, num_classes, channels))
        for i in range(2):
            self.add_module(f"reduction_ch_{i}", Neck(spec, num_classes))

    @property
    def necks(self) -> list["Neck"]:
        """Return the seven necks, in the order of the features."""
        names = [*(f"reduction_{i}" for i in (0, 4, 1, 2, 3)), "reduction_ch_0", "reduction_ch_1"]
        return [getattr(self, name) for name in names]

    def base_name(self, name: str) -> str:
        for pattern, stage in STAGES.items():
            if re.match(rf"{pattern}\.", name):
                return re.sub(f"^{pattern}", stage, name)
        return name

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Also rename the tensors in the authors' own files, whose stages lack `model.`."""
        if any(name.startswith("global_branch.") for name in state_dict):
            ours = set(self.module)
            return {
                f"model.{name}" if name.split(".")[0] in ours else name: v
                for name, v in state_dict.items()
            }
        return super().renamed(state_dict)

    def pooled(self, images: Tensor) -> list[Tensor]:
        """Compute seven pooled features (B, ·).

        They are the body, the dropped body, the part branch, its upper and lower half, and two
        groups of channels.
        """
        shared = self.module["backbone"](images)
        half = self.architecture.channels // 2
        body, part, channel = (self.module[name](shared) for name in BRANCHES)
        body = self.batch_drop_block["drop_batch_bottleneck"](body)
        dropped = drop_top_rows(body) if self.training else body
        halves = pool_stripes(part, 2, self.average)
        channels = self.average(channel)[:, :, None, None]
        groups = [
            self.shared(channels[:, :half]).flatten(1),
            self.shared(channels[:, half:]).flatten(1),
        ]
        return [self.average(body), self.largest(dropped), self.largest(part), *halves, *groups]

    def embed(self, images: Tensor) -> Tensor:
        features = [
            neck.embed(pooled) for neck, pooled in zip(self.necks, self.pooled(images), strict=True)
        ]
        return torch.stack(features, dim=2).flatten(1)

    def outputs(
        self, images: Tensor, seen: LossFeature = PUBLISHED_FEATURE
    ) -> tuple[Tensor, Tensor]:
        features, logits = per_part(self.necks, self.pooled(images))
        return features[:, : self.parts], logits


class Neck(nn.Module):
    """Reduce (B, D) to (B, 512) linearly if D is given; then apply a BNNeck and a classifier."""

    def __init__(
        self, spec: NetworkOptions, num_classes: int | None, dim: int | None = None
    ) -> None:
        super().__init__()
        # A linear layer, in the shape that the authors' weights have.
        self.reduction = nn.Conv2d(dim, LIGHTMBN_WIDTH, 1, bias=False) if dim else None
        self.bn = frozen_bias_norm(LIGHTMBN_WIDTH)
        if num_classes:
            self.classifier = build_classifier(LIGHTMBN_WIDTH, num_classes, "bnneck", spec.head)

    def reduce(self, pooled: Tensor) -> Tensor:
        """Compute the feature before the neck: (B, D) → (B, 512)."""
        return self.reduction(pooled[:, :, None, None]).flatten(1) if self.reduction else pooled

    def embed(self, pooled: Tensor) -> Tensor:
        """Compute the feature after the neck: (B, D) → (B, 512)."""
        return self.bn(self.reduce(pooled))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.reduce(pooled)
        return feature, self.classifier(self.bn(feature))


def drop_top_rows(maps: Tensor) -> Tensor:
    """In each map, set to 0 the share DROPPED of rows with the highest peak energy Σ_c x².

    (B, C, h, w) → (B, C, h, w)

    Quispe, Pedrini: Top-DB-Net: Top DropBlock for Activation Enhancement in Person
    Re-Identification, ICPR 2020.
    """
    energy = maps.detach().float().square().sum(1).amax(2)  # (B, h)
    top = energy.topk(round(DROPPED * maps.shape[2]), dim=1).indices
    return maps * torch.ones_like(energy).scatter(1, top, 0)[:, None, :, None].to(maps.dtype)
