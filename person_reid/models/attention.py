"""Attention modules, and how to add them to a network.

Every module maps a feature map (B, C, h, w) to one of the same shape. `--attention
cbam:layer3,layer4;se:layer2` appends them to stages of a backbone; all other names in the state
dict stay the same, so pretrained weights still load. FPB, GlobalContext and NonLocal start as the
identity; SE, CBAM and the SE in PLR start as gates near one half, as in their papers.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from person_reid.errors import UserError
from person_reid.models.surgery import evaluation_mode, traced
from person_reid.text import did_you_mean


class PositionAttention(nn.Module):
    """Let every position attend to all others: y_i = x_i + norm(Σ_j softmax_j(q_i·k_j) v_j).

    q, k (C/8 channels) and v (C) are linear in x. Fu et al., Dual Attention Network for Scene
    Segmentation, CVPR 2019, section 3.2. The weight of the norm takes the place of the paper's
    scale γ, which starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.key = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.norm = _zero_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        # (B, N, ·)
        query, key, value = (layer(x).flatten(2).mT for layer in (self.query, self.key, self.value))
        seen = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.norm(seen.mT.reshape(x.shape))


class ChannelAttention(nn.Module):
    """Let every channel attend to the channels unlike itself.

        y_c = x_c + norm(Σ_d softmax_d(max_e x_c·x_e − x_c·x_d) x_d)

    The products run over all positions. Fu et al., Dual Attention Network for Scene Segmentation,
    CVPR 2019, section 3.3, with the softmax of their code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _zero_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the products can exceed float16
            rows = x.float().flatten(2)  # (B, C, N)
            affinity = rows @ rows.mT
            weights = (affinity.amax(2, keepdim=True) - affinity).softmax(2)
            seen = (weights @ rows).reshape(x.shape)
        return x + self.norm(seen.to(x.dtype))


class USAM(nn.Module):
    """Amplify what stands out from its surroundings.

        y = x · (1 + a), a = f(norm(9 s − Σ over the 3×3 neighbourhood of s)), s = Σ_c x_c

    f(z) = z, or z / 10 below 0. a = 0 on the border, where half of the surroundings are padding.
    The filters are constants.

    Lin et al., Joint Representation Learning and Keypoint Detection for Cross-View
    Geo-Localization, TIP 2022 (unit subtraction attention). The paper has relu for f; this f is the
    published baseline's.
    """

    weight: Tensor  # for the neighbourhood
    weight2: Tensor  # for the position

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(1, 1, 3, 3))
        self.register_buffer("weight2", torch.full((1, 1, 1, 1), 9.0))
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        total = x.float().sum(1, keepdim=True)  # the sum over many channels can exceed float16
        kernel = functional.pad(self.weight2, (1, 1, 1, 1)) - self.weight
        with torch.autocast(x.device.type, enabled=False):
            attention = functional.leaky_relu(
                self.bn(functional.conv2d(total, kernel, padding=1)), 0.1
            )
        attention = functional.pad(attention[:, :, 1:-1, 1:-1], (1, 1, 1, 1))
        return x * (1 + attention).to(x.dtype)


def of_timm(module: str, name: str, channels: int, **settings: Any) -> nn.Module:
    """Build one of timm's attention modules, whose inner layers have a sixteenth of the channels.

    timm is imported only when needed, because it loads torchvision and PyTorch's compiler, which
    takes seconds.
    """
    kind = getattr(importlib.import_module(f"timm.layers.{module}"), name)
    return kind(channels, rd_ratio=1 / 16, rd_divisor=1, **settings)


def global_context(channels: int) -> nn.Module:
    """Build the additive form of GlobalContext, which starts as the identity."""
    module = of_timm("global_context", "GlobalContext", channels, fuse_add=True, fuse_scale=False)
    nn.init.zeros_(module.get_parameter("mlp_add.fc2.bias"))
    return module


ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {
    # Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR 2018. C²/8 weights, and biases.
    "se": partial(of_timm, "squeeze_excite", "SEModule"),
    # Woo et al., Convolutional Block Attention Module, ECCV 2018. C²/8 weights, and a 7×7 filter.
    "cbam": partial(of_timm, "cbam", "CbamModule"),
    # Cao et al., Global Context Networks, TPAMI 2020. C²/8 + C weights, a norm and biases.
    "gc": global_context,
    # Wang et al., Non-local Neural Networks, CVPR 2018. C²/4 weights, a norm and biases.
    "nonlocal": partial(of_timm, "non_local_attn", "NonLocalAttn"),
    "usam": lambda channels: USAM(),
    # Zhang et al., FPB: Feature Pyramid Branch for Person Re-Identification, arXiv 2108.01901.
    "fpb": lambda channels: nn.Sequential(PositionAttention(channels), ChannelAttention(channels)),
    # From PLR-OSNet: Xie et al., Learning Diverse Features with Part-Level Resolution for Person
    # Re-Identification, arXiv 2001.07442.
    "plr": lambda channels: nn.Sequential(PositionAttention(channels), ATTENTIONS["se"](channels)),
}


def parse_attention(text: str) -> list[tuple[str, str]]:
    """Parse `text` into (kind, stage) pairs, in the same order.

    `cbam:layer3,layer4;se:layer2` is [("cbam", "layer3"), ("cbam", "layer4"), ("se", "layer2")].
    Raises UserError for an unknown kind, a kind without a stage, and the same kind twice in one
    stage.
    """
    pairs: list[tuple[str, str]] = []
    for group in text.split(";"):
        kind, _, places = (part.strip() for part in group.partition(":"))
        if kind not in ATTENTIONS:
            raise UserError(
                f"attention={text}: unknown kind {kind!r}.{did_you_mean(kind, ATTENTIONS)} "
                f"Known are {', '.join(ATTENTIONS)}, "
                "each with its places: cbam:layer3,layer4;se:layer2"
            )
        pairs += [(kind, place.strip()) for place in places.split(",")]
        if not all(place for _, place in pairs):
            raise UserError(f"attention={text}: {kind} needs a place, such as {kind}:layer3")
    if len(set(pairs)) < len(pairs):
        raise UserError(f"attention={text}: the same kind twice in one place; leave one out.")
    return pairs


def add_attention(module: nn.Module, text: str, run: Callable[[], Any]) -> None:
    """Append the attention modules named in `text` to stages of a backbone, in place.

    run: calls the backbone with images of its size, to find the stages and their channels.
    Raises UserError for an unknown stage; the message lists the known ones.
    """
    pairs = parse_attention(text)
    channels = stage_channels(module, run)
    known = f"Known are {', '.join(channels)}."
    for kind, place in pairs:
        if place not in channels:
            there = known if channels else "It has no stages that attention fits."
            raise UserError(
                f"attention={text}: this network has no stage {place!r}."
                f"{did_you_mean(place, channels)} {there}"
            )
        stage = module.get_submodule(place)
        attention = ATTENTIONS[kind](channels[place]).to(next(stage.parameters()).device)
        stage.add_module(kind, attention)


def stage_channels(module: nn.Module, run: Callable[[], Any]) -> dict[str, int]:
    """Return {stage: channels of its map} for the stages that attention can be appended to.

    A stage is an nn.Sequential of the network, or of one of its children, whose output is a map
    (B, C, h, w). Transformers have none.
    """
    if hasattr(module, "patch_embed"):
        return {}
    stages = {
        name: stage
        for name, stage in module.named_modules()
        if isinstance(stage, nn.Sequential) and name.count(".") < 2
    }
    with evaluation_mode(module), torch.no_grad():
        outputs = {name: output for name, _, output in traced(stages, run)}
    maps = {name: outputs[name] for name in stages if isinstance(outputs.get(name), Tensor)}
    return {name: value.shape[1] for name, value in maps.items() if value.ndim == 4}


def _zero_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm with weight 0.

    The branch that it ends starts as zero, so pretrained features do not change.
    """
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return norm
