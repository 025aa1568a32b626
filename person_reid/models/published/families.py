"""Networks from papers, under this suite's names, for the weights that the authors publish.

An entry describes what the authors test: architecture, size, feature, and resizing.
"""

from dataclasses import replace
from typing import Any

from person_reid.models.architecture import Architecture
from person_reid.models.published.from_authors import (
    ClipResNetArchitecture,
    FastReIDArchitecture,
    OSNetLCTArchitecture,
    SoliderArchitecture,
    TransReIDArchitecture,
)

TEST: dict[str, Any] = {
    "resize": "bilinear",
    "flips": False,
    "can_keep_resolution": False,
    "own_feature": True,
}
TINY_VIT: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
SMALL_VIT = {"embed_dim": 384, "depth": 12, "num_heads": 6}
BASE = {"embed_dim": 768, "depth": 12, "num_heads": 12}
# timm's first ViT-S, with which TransReID begins.
SHALLOW = {
    "embed_dim": 768, "depth": 8, "num_heads": 8, "mlp_ratio": 3.0, "qkv_bias": False,
    "scale": 768**-0.5,
}  # fmt: skip
POOL_OF_METHOD = {"bot": "avg", "agw": "gem", "sbs": "gemp"}
CLIP = {"side": 1.0, "pre_norm": True, "act_layer": "quick_gelu"}


def transreid(
    name: str,
    settings: dict[str, Any],
    feature: str = "token",
    stride: int = 16,
    stem: bool = False,
) -> Architecture:
    """Return the architecture of a transformer; see TransReIDArchitecture."""
    width = settings["embed_dim"]
    dims = {
        "token": width, "jigsaw": 5 * width, "parts": 2 * width, "normed": 2 * width,
        "projected": width + 512,
    }  # fmt: skip
    return TransReIDArchitecture(
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


def fastreid(method: str, kind: str) -> Architecture:
    """Return the architecture of a fast-reid configuration.

    method: such as sbs. kind: the ResNet, such as resnet50_ibn.
    """
    deep, attends = "101" in kind, method in ("agw", "sbs") and kind != "resnest50"
    return FastReIDArchitecture(
        f"fastreid_{method}_{kind}",
        2048,
        size=(384, 128) if method == "sbs" else (256, 128),
        layers=(3, 4, 23 if deep else 6, 3),
        ibn="ibn" in kind,
        non_local=(0, 2, 9 if deep else 3, 0) if attends else (0, 0, 0, 0),
        split=kind == "resnest50",
        can_keep_resolution=False,
        flips=False,
        # Weights of a deeper network, of one with attention, and of one with a learned pooling.
        foreign=(
            *(() if deep else ("layer3.6.",)),
            *(() if attends else ("NL_",)),
            *(() if method == "sbs" else ("pooling.p",)),
        ),
        options={"neck": "bnneck", "pool": POOL_OF_METHOD[method]},
    )


def mgn(program: str, kind: str) -> Architecture:
    """Return the architecture of the MGN from fast-reid or LUPerson."""
    of_luperson = program == "luperson"
    return FastReIDArchitecture(
        f"{program}_mgn_{kind}",
        2048,
        size=(384, 128),
        layers=(3, 4, 23 if "101" in kind else 6, 3),
        ibn="ibn" in kind,
        branched=True,
        of_luperson=of_luperson,
        own_feature=True,
        can_keep_resolution=False,
        flips=False,
        foreign=(
            *(() if "101" in kind else ("b1.0.5.",)),
            *(() if of_luperson else ("heads_extra_bn_",)),
        ),
    )


def solider(kind: str, width: int, depths: tuple[int, ...]) -> Architecture:
    """Return the architecture of one of SOLIDER's Swin Transformers."""
    heads = tuple(width // 32 * 2**stage for stage in range(4))
    return SoliderArchitecture(
        f"solider_swin_{kind}",
        8 * width,
        size=(384, 128),
        drop_path=0.1,
        settings={"embed_dim": width, "depths": depths, "num_heads": heads},
        **TEST | {"own_feature": False},
    )


def osnet_lct(width: float) -> Architecture:
    """Return the architecture of one of Intel's networks. width: the multiplier of its channels."""
    return OSNetLCTArchitecture(
        f"osnet_lct_x{width}".replace(".", "_"),
        256,
        channels=int(512 * width),
        width=width,
        can_keep_resolution=False,
        own_feature=True,
        flips=False,
    )


def without_labels(architecture: Architecture) -> Architecture:
    """Return a transformer in the form tested by programs that train without labels.

    It has ImageNet's pixel statistics, bicubic resizing, and the feature after the norm.
    """
    normed = isinstance(architecture, TransReIDArchitecture) and architecture.feature_of == "normed"
    options = {} if normed else {"neck": "bnneck"}
    changes: dict[str, Any] = {"half_range": False, "resize": "bicubic", "options": options}
    return replace(architecture, name=f"{architecture.name}_usl", **changes)


FASTREID = [
    fastreid(method, kind)
    for method in POOL_OF_METHOD
    for kind in ("resnet50", "resnet50_ibn", "resnet101", "resnet101_ibn", "resnest50")
]
OF_FAMILIES = (
    # Intel's Open Model Zoo: person-reidentification-retail-0288, -0287, -0286 and -0277
    *map(osnet_lct, (0.25, 0.5, 0.75, 1.0)),
    # He et al., ICCV 2021. ViT-B and DeiT-B are one architecture; the file has side information.
    transreid("transreid_vit_base", BASE),
    transreid("transreid_vit_base_12", BASE, stride=12),
    transreid("transreid_vit_base_jpm_sie", BASE, "jigsaw"),
    transreid("transreid_vit_base_jpm_sie_12", BASE, "jigsaw", stride=12),
    transreid("transreid_deit_base_jpm_sie_12", BASE, "jigsaw", stride=12),
    transreid("transreid_vit_small", SHALLOW),
    transreid("transreid_deit_small", SMALL_VIT),
    # Luo et al., arXiv 2111.12084
    transreid("transreid_ssl_vit_small", SMALL_VIT),
    transreid("transreid_ssl_vit_small_ics", SMALL_VIT, stem=True),
    transreid("transreid_ssl_vit_base_ics", BASE, stem=True),
    without_labels(transreid("transreid_ssl_vit_small", SMALL_VIT)),
    without_labels(transreid("transreid_ssl_vit_small_ics", SMALL_VIT, stem=True)),
    # Zhu et al., ECCV 2022
    transreid("pass_vit_small", SMALL_VIT | {"reg_tokens": 3}, "parts"),
    transreid("pass_vit_base", BASE | {"reg_tokens": 3}, "parts"),
    without_labels(transreid("pass_vit_small", SMALL_VIT | {"reg_tokens": 3}, "normed")),
    # Hu et al., PersonViT, 2024
    transreid("personvit_vit_tiny", TINY_VIT),
    transreid("personvit_vit_small", SMALL_VIT),
    transreid("personvit_vit_base", BASE),
    # Li, Sun, Li: CLIP-ReID, AAAI 2023
    transreid("clip_reid_vit_base", BASE | CLIP, "projected"),
    transreid("clip_reid_vit_base_sie_olp", BASE | CLIP, "projected", stride=12),
    ClipResNetArchitecture("clip_reid_resnet50", 3072, channels=2048, **TEST),
    # Chen et al., SOLIDER, CVPR 2023
    solider("tiny", 96, (2, 2, 6, 2)),
    solider("small", 96, (2, 2, 18, 2)),
    solider("base", 128, (2, 2, 18, 2)),
    *FASTREID,
    mgn("fastreid", "resnet50"),
    mgn("fastreid", "resnet50_ibn"),
    # Fu et al., LUPerson, CVPR 2021
    mgn("luperson", "resnet50"),
    mgn("luperson", "resnet101"),
)
FAMILIES: dict[str, Architecture] = {each.name: each for each in OF_FAMILIES}
