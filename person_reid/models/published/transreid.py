"""Transformers trained to re-identify people: TransReID, the networks built on it, and SOLIDER.

timm's transformer, with side information, overlapping patches, a stem of convolutions, part tokens
and the jigsaw patch module. Its tensors have timm's names, which are the authors'.

He, Luo, Wang, Wang, Li, Jiang: TransReID: Transformer-based Object Re-Identification, ICCV 2021.
Luo et al., Self-Supervised Pre-Training for Transformer-Based Person Re-Identification, arXiv
2111.12084 (the stem). Zhu et al., PASS: Part-Aware Self-Supervised Pre-Training for Person
Re-Identification, ECCV 2022 (part tokens). Li, Sun, Li: CLIP-ReID, AAAI 2023. Chen, Xu, Jia, Luo,
Wang, Wang, Jin, Sun: Beyond Appearance: a Semantic Controllable Self-Supervised Learning Framework
for Human-Centric Visual Tasks, CVPR 2023, section 3.3.
"""

import copy
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, softplus

from person_reid.models.ibn import InstanceBatchNorm
from person_reid.models.published.fastreid import HalfRange

JIGSAW_SHIFT = 5  # settings of the jigsaw patch module
JIGSAW_GROUPS = 2
JIGSAW_PARTS = 4
STEM = 64  # channels
PASS_NECKS = ("bottleneck", "bottleneck_pt1", "bottleneck_pt2", "bottleneck_pt3")  # of PASS
CLIP_NAMES = (
    ("transformer.resblocks.", "blocks."), ("ln_pre.", "norm_pre."), ("ln_post.", "norm."),
    ("ln_1.", "norm1."), ("ln_2.", "norm2."), ("in_proj_", "qkv."), ("out_proj.", "proj."),
    ("c_fc.", "fc1."), ("c_proj.", "fc2."), ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"), ("positional_embedding", "pos_embed"),
    ("cv_embed", "sie_embed"),
)  # fmt: skip


class Patches(nn.Module):
    """Cut images (B, 3, H, W) into N patches that may overlap, and embed them: (B, N, D).

    stride: pixels between patches. convolutions: whether a stem halves the image first. half_range:
    whether pixels are from -1 to 1.
    """

    def __init__(
        self,
        img_size: tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        stride: int,
        convolutions: bool = False,
        half_range: bool = True,
        bias: bool = True,
        **_: Any,
    ) -> None:
        super().__init__()
        self.patch_size, self.stride = (patch_size, patch_size), stride
        height, width = ((side - patch_size) // stride + 1 for side in img_size)
        self.grid_size, self.num_patches = (height, width), height * width
        self.pixels = HalfRange() if half_range else nn.Identity()
        self.conv = _stem(in_chans) if convolutions else nn.Identity()
        if convolutions:
            in_chans = STEM
            patch_size = patch_size // 2
            stride = stride // 2
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.conv(self.pixels(images))).flatten(2).mT


def _stem(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size, stride, norm in (
        (7, 2, InstanceBatchNorm),
        (3, 1, InstanceBatchNorm),
        (3, 1, nn.BatchNorm2d),
    ):
        convolution = nn.Conv2d(channels, STEM, size, stride, size // 2, bias=False)
        layers += [convolution, norm(STEM), nn.ReLU(inplace=True)]
        channels = STEM
    return nn.Sequential(*layers)


class PersonTransformer(VisionTransformer):  # type: ignore[misc, unused-ignore]
    """A transformer that computes the feature (B, dim) that its authors use in tests.

    feature: `token`: the class token (B, D).
        `jigsaw`: the class token of the whole image, and a quarter of the class tokens of four
            groups of shuffled patches, (B, 5D). TransReID, section 3.2.
        `parts`: the class token and the mean of three part tokens (B, 2D), as in PASS.
        `normed`: the same as `parts`, but each token after its own norm and of unit length.
        `projected`: the class token before and after CLIP's projection (B, D + projection).
    side: λ, the weight of side information, `sie_embed` (S, 1, D), for S cameras, or for S pairs of
        a camera and a view. It is added to all tokens (TransReID, section 3.3) or, with
        `projected`, to the class token before it is normalised. S is 0 until a file with side
        information is loaded.
    scale: the factor of attention scores, by default 1 / √(width of a head).
    """

    def __init__(
        self,
        feature: str = "token",
        side: float = 3.0,
        scale: float | None = None,
        projection: int = 512,
        **settings: Any,
    ) -> None:
        if feature == "projected":
            settings["norm_layer"] = nn.LayerNorm  # with CLIP's eps, 1e-5
        super().__init__(num_classes=0, **settings)
        self.feature, self.side = feature, side
        self.register_parameter("sie_embed", None)
        if feature == "jigsaw":
            _branch_out(self)
        if feature == "normed":
            for name in PASS_NECKS:
                self.add_module(name, nn.BatchNorm1d(self.embed_dim))
        if feature == "projected":
            self.proj = nn.Parameter(self.embed_dim**-0.5 * torch.randn(self.embed_dim, projection))
        for part in self.modules() if scale else ():
            if isinstance(part, Attention):
                part.scale, part.fused_attn = scale, False

    @property
    def sides(self) -> int:
        """The number S of known cameras, or of (camera, view) pairs."""
        return 0 if self.sie_embed is None else len(self.sie_embed)

    def tokens(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        """Compute all tokens, the class token first: (B, 3, H, W) → (B, 1 + parts + N, D).

        sides: (B,) rows of the side information; None takes its mean.
        """
        tokens = self._pos_embed(self.patch_embed(images))
        if self.sides:
            known = self.sie_embed.mean(0, keepdim=True) if sides is None else self.sie_embed[sides]
            if self.feature == "projected":
                known = nn.functional.pad(known, (0, 0, 0, tokens.shape[1] - 1))
            tokens = tokens + self.side * known
        return self.norm(self.blocks(self.norm_pre(tokens)))

    def forward(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        tokens = self.tokens(images, sides)
        if self.feature == "jigsaw":
            return self._jigsaw(tokens)
        token = tokens[:, 0]
        if self.feature == "parts":
            return torch.cat([token, tokens[:, 1:4].mean(1)], dim=1)
        if self.feature == "normed":
            parts = [normalize(getattr(self, n)(tokens[:, i])) for i, n in enumerate(PASS_NECKS)]
            return torch.cat([parts[0], torch.stack(parts[1:]).mean(0)], dim=1)
        return torch.cat([token, token @ self.proj], dim=1) if self.feature != "token" else token

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the final patch tokens as a map (B, D, h, w)."""
        tokens = self.tokens(images)
        tokens = self.b1(tokens) if self.feature == "jigsaw" else tokens
        return tokens[:, self.num_prefix_tokens :].mT.unflatten(2, self.patch_embed.grid_size)

    def _jigsaw(self, tokens: Tensor) -> Tensor:
        """Compute TransReID's features from the tokens before the last block: (B, 5D)."""
        token, patches = tokens[:, :1], tokens[:, 1:]
        size = patches.shape[1] // JIGSAW_PARTS
        shuffled = _shuffled(patches)
        features = [self.b1(tokens)[:, 0]]
        for i in range(JIGSAW_PARTS):
            part = torch.cat([token, shuffled[:, i * size : (i + 1) * size]], dim=1)
            features.append(self.b2(part)[:, 0] / JIGSAW_PARTS)
        return torch.cat(features, dim=1)


def _branch_out(network: Any) -> None:
    """Replace a transformer's last block and norm with two copies, `b1` and `b2`, for `jigsaw`."""
    *before, last = network.blocks
    branch = nn.Sequential(last, network.norm)
    network.b1, network.b2 = branch, copy.deepcopy(branch)
    network.blocks, network.norm = nn.Sequential(*before), nn.Identity()


def _shuffled(patches: Tensor) -> Tensor:
    """Shift N patches (B, N, D) cyclically, and take patches from the two halves alternately.

    If N is odd, the last but one patch is repeated, as in the authors' code.
    """
    moved = patches.roll(1 - JIGSAW_SHIFT, 1)
    if moved.shape[1] % JIGSAW_GROUPS:
        moved = torch.cat([moved, moved[:, -2:-1]], dim=1)
    return moved.unflatten(1, (JIGSAW_GROUPS, -1)).transpose(1, 2).flatten(1, 2)


def timm_names_of_authors(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of CLIP-ReID's and PASS's transformers as in timm; keep all others."""
    if "class_embedding" in state_dict:
        return _names_of_clip(state_dict)
    if "part_token1" not in state_dict:
        return state_dict
    extra = [f"part{part}_pos" for part in (1, 2, 3)]
    positions = ["cls_pos", *extra, "pos_embed"]
    tokens = [f"part_token{part}" for part in (1, 2, 3)]
    kept = {name: v for name, v in state_dict.items() if name not in (*positions, *tokens)}
    return kept | {
        "reg_token": torch.cat([state_dict[name] for name in tokens], dim=1),
        "pos_embed": torch.cat([state_dict[name] for name in positions], dim=1),
    }


def _names_of_clip(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state_dict.items():
        for old, new in CLIP_NAMES:
            name = name.replace(old, new)
        if name in ("cls_token", "pos_embed"):
            value = value.reshape(1, -1, value.shape[-1])
        renamed[name] = value[:, None] if name == "sie_embed" else value
    return renamed


class PaddedBlock(SwinTransformerBlock):  # type: ignore[misc, unused-ignore]
    """timm's block for maps that windows do not divide evenly.

    The maps are padded before the shift, as in mmdetection, and not after it.
    """

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        right, bottom = -width % self.window_size[1], -height % self.window_size[0]
        return super()._attn(pad(x, (0, 0, 0, right, 0, bottom)))[:, :height, :width]


class SemanticSwin(SwinTransformer):  # type: ignore[misc, unused-ignore]
    """A Swin Transformer with a semantic scale and shift before the blocks of stages 2 to 4.

        y = x · softplus(w(λ, 1 − λ)) + b(λ, 1 − λ), w and b linear

    semantic: λ, from 0 (appearance) to 1 (meaning); its authors re-identify people with 0.2.
    """

    def __init__(self, semantic: float = 0.2, embed_dim: int = 96, **settings: Any) -> None:
        super().__init__(num_classes=0, embed_dim=embed_dim, always_partition=True, **settings)
        self.semantic = semantic
        self.pixels = HalfRange()
        widths = [embed_dim * 2**stage for stage in (1, 2, 3, 3)]  # its code has a fourth, unused
        self.semantic_embed_w = nn.ModuleList(nn.Linear(2, width) for width in widths)
        self.semantic_embed_b = nn.ModuleList(nn.Linear(2, width) for width in widths)
        for part in [*self.semantic_embed_w, *self.semantic_embed_b]:
            part.requires_grad_(False)
        for part in self.modules():
            if isinstance(part, SwinTransformerBlock):
                part.__class__ = PaddedBlock

    def forward_features(self, images: Tensor) -> Tensor:
        """Compute the last map, channels last: (B, 3, H, W) → (B, H / 32, W / 32, D)."""
        x = self.patch_embed(self.pixels(images))
        weight = x.new_tensor([self.semantic, 1 - self.semantic])
        for stage, layer in enumerate(self.layers):
            x = layer.downsample(x)
            if stage:
                scale = softplus(self.semantic_embed_w[stage - 1](weight))
                x = x * scale + self.semantic_embed_b[stage - 1](weight)
            x = layer.blocks(x)
        return self.norm(x)
