"""SOLIDER's Swin Transformer, with a semantic weight between appearance and meaning.

Chen, Xu, Jia, Luo, Wang, Wang, Jin, Sun: Beyond Appearance: a Semantic Controllable Self-Supervised
Learning Framework for Human-Centric Visual Tasks, CVPR 2023, section 3.3.
"""

from typing import Any

from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from person_reid.models.published.fastreid import HalfRange


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
