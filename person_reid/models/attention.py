"""Attention modules, and how they get into a network.

Every module turns a feature map (B, C, h, w) into one of the same shape. `--attention cbam:layer3,layer4;se:layer2`
appends them to stages of a backbone; no other name in the state dict changes, so that pretrained weights still load.
FPB, GlobalContext and NonLocal begin as the identity; SE, CBAM and the SE in PLR begin as gates near one half, as in
their papers. timm is imported where it is asked for: it brings torchvision and PyTorch's compiler along, seconds of
start that no other part of a small network needs.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from person_reid.basics import UserError, did_you_mean

RATIO = 1 / 16  # of the channels inside SE, CBAM, GlobalContext and NonLocal


class PositionAttention(nn.Module):
    """y_i = x_i + norm(Σ_j softmax_j(q_i·k_j) v_j), with q, k (C/8 channels) and v (C) linear in x: every position
    sees every other one.

    Fu et al., Dual Attention Network for Scene Segmentation, CVPR 2019, section 3.2. Its scale γ, 0 at first, is the
    weight of the norm here.
    """

    def __init__(self, channels):
        super().__init__()
        self.query = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.key = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.norm = _zero_norm(channels)

    def forward(self, x):
        query, key, value = (layer(x).flatten(2).mT for layer in (self.query, self.key, self.value))  # (B, N, ·)
        seen = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.norm(seen.mT.reshape(x.shape))


class ChannelAttention(nn.Module):
    """y_c = x_c + norm(Σ_d softmax_d(max_e x_c·x_e − x_c·x_d) x_d), products over all positions: every channel sees
    those unlike itself.

    Fu et al., Dual Attention Network for Scene Segmentation, CVPR 2019, section 3.3, softmax as in their code.
    """

    def __init__(self, channels):
        super().__init__()
        self.norm = _zero_norm(channels)

    def forward(self, x):
        rows = x.flatten(2)  # (B, C, N)
        affinity = rows.float() @ rows.float().mT
        weights = (affinity.amax(2, keepdim=True) - affinity).softmax(2)
        return x + self.norm((weights.to(rows.dtype) @ rows).reshape(x.shape))


class USAM(nn.Module):
    """y = x · (1 + a), a = f(norm(9 s − Σ over the 3×3 neighbourhood of s)), s = Σ over the channels of x: what
    stands out from its surroundings counts more. f(z) = z, or z / 10 below 0. a = 0 on the border, whose surroundings
    are half padding.

    Lin et al., Joint Representation Learning and Keypoint Detection for Cross-View Geo-Localization, TIP 2022 (unit
    subtraction attention; relu for f there, f as in the published baseline). The filters are constants.
    """

    weight: torch.Tensor  # of the neighbourhood
    weight2: torch.Tensor  # of the position

    def __init__(self, channels=None):
        super().__init__()
        self.register_buffer("weight", torch.ones(1, 1, 3, 3))
        self.register_buffer("weight2", torch.full((1, 1, 1, 1), 9.0))
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x):
        total = x.float().sum(1, keepdim=True)  # of many channels: too large for float16
        kernel = functional.pad(self.weight2, (1, 1, 1, 1)) - self.weight
        with torch.autocast(x.device.type, enabled=False):
            attention = functional.leaky_relu(self.bn(functional.conv2d(total, kernel, padding=1)), 0.1)
        attention = functional.pad(attention[:, :, 1:-1, 1:-1], (1, 1, 1, 1))
        return x * (1 + attention).to(x.dtype)


def feature_pyramid_attention(channels):
    """The attention of FPB, position then channel: Zhang et al., FPB: Feature Pyramid Branch for Person
    Re-Identification, arXiv 2108.01901."""
    return nn.Sequential(PositionAttention(channels), ChannelAttention(channels))


def part_level_attention(channels):
    """The attention of PLR-OSNet, position then squeeze-and-excitation: Xie et al., Learning Diverse Features with
    Part-Level Resolution for Person Re-Identification, arXiv 2001.07442."""
    return nn.Sequential(PositionAttention(channels), squeeze_excitation(channels))


def squeeze_excitation(channels):
    """Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR 2018: C²/8 weights and the biases."""
    from timm.layers import SEModule

    return SEModule(channels, rd_ratio=RATIO, rd_divisor=1)


def convolutional_attention(channels):
    """Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018: C²/8 weights and a 7×7 filter."""
    from timm.layers.cbam import CbamModule

    return CbamModule(channels, rd_ratio=RATIO, rd_divisor=1)


def global_context(channels):
    """Cao et al., Global Context Networks, TPAMI 2020, in its additive form: C²/8 + C weights, a norm and biases."""
    from timm.layers import GlobalContext

    module: Any = GlobalContext(channels, fuse_add=True, fuse_scale=False, rd_ratio=RATIO, rd_divisor=1)
    nn.init.zeros_(module.mlp_add.fc2.bias)
    return module


def non_local(channels):
    """Wang et al., Non-local Neural Networks, CVPR 2018, with C/16 channels inside: C²/4 weights, a norm and biases."""
    from timm.layers import NonLocalAttn

    return NonLocalAttn(channels, rd_ratio=RATIO, rd_divisor=1)


ATTENTIONS = {
    "se": squeeze_excitation,
    "cbam": convolutional_attention,
    "gc": global_context,
    "nonlocal": non_local,
    "usam": USAM,
    "fpb": feature_pyramid_attention,
    "plr": part_level_attention,
}


def parse_attention(text):
    """`cbam:layer3,layer4;se:layer2` → [("cbam", "layer3"), ("cbam", "layer4"), ("se", "layer2")], in that order.

    Raises UserError for an unknown kind, a kind without a place, and the same kind twice in one place.
    """
    pairs: list[tuple[str, str]] = []
    for group in text.split(";"):
        kind, _, places = (part.strip() for part in group.partition(":"))
        if kind not in ATTENTIONS:
            raise UserError(
                f"--attention {text}: unknown kind {kind!r}.{did_you_mean(kind, ATTENTIONS)} Known are "
                f"{', '.join(ATTENTIONS)}, each with its places: cbam:layer3,layer4;se:layer2"
            )
        pairs += [(kind, place.strip()) for place in places.split(",")]
        if not all(place for _, place in pairs):
            raise UserError(f"--attention {text}: {kind} needs a place, such as {kind}:layer3")
    if len(set(pairs)) < len(pairs):
        raise UserError(f"--attention {text}: the same kind twice in one place.")
    return pairs


def add_attention(module, text, images, run):
    """Append the modules that `--attention` asks for to the stages of a backbone, in place.

    images: a batch of the shape that the backbone takes. run(module, images): a forward pass; it shows which stages
    there are and how many channels they have. Raises UserError for a place that is none, listing those there are.
    """
    pairs = parse_attention(text)
    channels = stage_channels(module, images, run)
    for kind, place in pairs:
        if place not in channels:
            there = f"Known are {', '.join(channels)}." if channels else "It has no stages that attention fits."
            raise UserError(
                f"--attention {text}: this network has no stage {place!r}.{did_you_mean(place, channels)} {there}"
            )
        stage = module.get_submodule(place)
        attention = ATTENTIONS[kind](channels[place]).to(next(stage.parameters()).device)
        stage.add_module(kind, attention)


@torch.no_grad()
def stage_channels(module, images, run):
    """The stages to which attention can be appended, and the channels of their maps: every nn.Sequential of the
    network, or of one of its children, that gives a map (B, C, h, w). Transformers have no such maps.
    """
    if hasattr(module, "patch_embed"):
        return {}
    channels = {}

    def note(name):
        def hook(stage, inputs, output):
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                channels[name] = output.shape[1]

        return hook

    stages = [(name, stage) for name, stage in module.named_modules() if isinstance(stage, nn.Sequential)]
    hooks = [stage.register_forward_hook(note(name)) for name, stage in stages if name.count(".") < 2]
    training = module.training
    run(module.eval(), images)
    module.train(training)
    for hook in hooks:
        hook.remove()
    return {name: channels[name] for name, _ in stages if name in channels}


def _zero_norm(channels):
    """A batch norm of weight 0: what it ends begins as nothing, and leaves pretrained features as they are."""
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return norm
