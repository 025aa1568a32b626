"""The networks of published papers under names of ours, for the files that their authors give away.

An entry says what the authors test: architecture, size, feature, and how images are resized.
"""

from __future__ import annotations

from typing import Any

from person_reid.models.backbone import Backbone
from person_reid.models.from_authors import TransReIDBackbone

TEST: dict[str, Any] = {
    "resize": "bilinear",
    "flips": False,
    "can_keep_resolution": False,
    "own_feature": True,
}
TINY: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
SMALL = {"embed_dim": 384, "depth": 12, "num_heads": 6}
BASE = {"embed_dim": 768, "depth": 12, "num_heads": 12}
# timm's first ViT-S, which TransReID begins with
SHALLOW = {
    "embed_dim": 768, "depth": 8, "num_heads": 8, "mlp_ratio": 3.0, "qkv_bias": False,
    "scale": 768**-0.5,
}  # fmt: skip
CLIP = {"side": 1.0, "pre_norm": True, "act_layer": "quick_gelu"}


def transreid(
    name: str,
    settings: dict[str, Any],
    feature: str = "token",
    stride: int = 16,
    stem: bool = False,
) -> Backbone:
    """Return the Backbone of a transformer; see TransReIDBackbone."""
    width = settings["embed_dim"]
    dims = {"token": width, "jigsaw": 5 * width, "parts": 2 * width, "projected": width + 512}
    return TransReIDBackbone(
        name,
        dims[feature],
        channels=width,
        drop_path=0.1,
        feature_of=feature,
        stride=stride,
        stem=stem,
        settings=settings,
        foreign=() if feature == "jigsaw" else ("b1.",),
        **TEST,
    )


FAMILIES: dict[str, Backbone] = {
    each.name: each
    for each in (
        # He et al., ICCV 2021. ViT-B and DeiT-B are one architecture
        transreid("transreid_base", BASE),
        transreid("transreid_base_stride12", BASE, stride=12),
        transreid("transreid_jpm", BASE, "jigsaw"),
        transreid("transreid_jpm_stride12", BASE, "jigsaw", stride=12),
        transreid("transreid_small", SHALLOW),
        transreid("transreid_deit_small", SMALL),
        # Luo et al., arXiv 2111.12084
        transreid("transreid_ssl_small", SMALL, stem=True),
        transreid("transreid_ssl_base", BASE, stem=True),
        # Zhu et al., ECCV 2022
        transreid("pass_small", SMALL | {"reg_tokens": 3}, "parts"),
        transreid("pass_base", BASE | {"reg_tokens": 3}, "parts"),
        # Hu et al., PersonViT, 2024
        transreid("personvit_tiny", TINY),
        transreid("personvit_small", SMALL),
        transreid("personvit_base", BASE),
        # Li, Sun, Li: CLIP-ReID, AAAI 2023
        transreid("clipreid_vit", BASE | CLIP, "projected"),
        transreid("clipreid_vit_stride12", BASE | CLIP, "projected", stride=12),
    )
}
