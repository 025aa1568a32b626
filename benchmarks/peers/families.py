"""Compare published networks with their authors' code, and write the record for the tests.

    python benchmarks/peers/families.py ../sources           # all
    python benchmarks/peers/families.py ../sources JPM CLIP  # names that contain JPM or CLIP

../sources has a checkout OWNER+NAME of each repository, with its commit in a file COMMIT. CLIP-ReID
needs the packages ftfy and regex, and fast-reid needs yacs and termcolor.

Both networks get the same generated weights and images. The rule, names and shapes, a few of the
authors' features, the largest difference and the commit are written to
tests/fixtures/families.json, which docs/accuracy.md and the tests use. None of the authors' code is
kept.
"""

import collections.abc
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn
from torchvision.transforms import Compose, Normalize, PILToTensor, Resize, ToPILImage, ToTensor

from benchmarks.support.filled_networks import (
    FIXTURE,
    authors_weights,
    difference,
    images_of,
    our_features,
)
from benchmarks.support.measure import ROOT
from benchmarks.support.parser import Parser

NUM_CLASSES, CAMERAS = 7, 3
KEPT = 48  # how many numbers of each feature the fixture has
TINY = {"embed_dim": 48, "depth": 2, "num_heads": 4}


def namespace(values: Any) -> Any:
    """Return nested dicts as a configuration with attributes."""
    if not isinstance(values, dict):
        return values
    return SimpleNamespace(**{name: namespace(value) for name, value in values.items()})


def configuration(size: tuple[int, int], **model: Any) -> Any:
    """Return the options that TransReID's code and the code built on it read."""
    values = {
        "LAST_STRIDE": 1, "PRETRAIN_PATH": "", "NAME": "transformer", "PRETRAIN_CHOICE": "no",
        "COS_LAYER": False, "NECK": "bnneck", "SIE_CAMERA": False,
        "SIE_VIEW": False, "SIE_COE": 3.0, "STRIDE_SIZE": [16, 16], "DROP_PATH": 0.1,
        "DROP_OUT": 0.0, "ATT_DROP_RATE": 0.0, "ID_LOSS_TYPE": "softmax", "JPM": False,
        "SHUFFLE_GROUP": 2, "SHIFT_NUM": 5, "DEVIDE_LENGTH": 4, "RE_ARRANGE": True,
        "REDUCE_FEAT_DIM": False, "FEAT_DIM": 512, "DROPOUT_RATE": 0.0, "GEM_POOLING": False,
        "POOLING": "None", "STEM_CONV": False, "MULTI_NECK": True, "FEAT_FUSION": "cat",
    } | model  # fmt: skip
    return namespace(
        {"MODEL": values, "TEST": {"NECK_FEAT": "before"}, "INPUT": {"SIZE_TRAIN": size}}
    )


def module_of(folder: Path, name: str) -> Any:
    """Import a module from a checkout, replacing another checkout's module of the same name."""
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in ("model", "loss", "config", "utils", "fastreid"):
            del sys.modules[loaded]
    before = sys.path[:]  # the suite also has a model.py
    sys.path[:] = [str(folder), *(path for path in before if Path(path).resolve() != ROOT)]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


def transreid(
    folder: Path,
    size: tuple[int, int],
    kind: str = "",
    local: bool = False,
    shallow: bool = False,
    **model: Any,
) -> Any:
    """Build a network with TransReID's code, or with code built on it.

    kind: the transformer's name, or "" for a shrunken one. shallow: whether it resembles
    TransReID's ViT-S.
    """
    make = module_of(folder, "model.make_model")
    backbones = sys.modules["model.backbones.vit_pytorch"]
    norm = partial(nn.LayerNorm, eps=1e-6)
    settings = {"mlp_ratio": 3.0, "qk_scale": 0.1} if shallow else {"qkv_bias": True}
    tiny = partial(backbones.TransReID, **TINY, **settings, norm_layer=norm)
    names = ["build_transformer_pass", "build_transformer"]
    name = "build_transformer_local" if local else next(n for n in names if hasattr(make, n))
    cameras = CAMERAS if model.get("SIE_CAMERA") else 0
    network = getattr(make, name)(
        NUM_CLASSES,
        cameras,
        0,
        configuration(size, JPM=local, TRANSFORMER_TYPE=kind, **model),
        {kind: getattr(backbones, kind) if kind else tiny},
        *([True] if local else []),
    )
    if not kind:  # the code gives the necks a width of 768
        for name in dict(network.named_children()):
            if name.startswith("bottleneck"):
                setattr(network, name, nn.BatchNorm1d(TINY["embed_dim"]))
    return network


def cluster_contrast(folder: Path, size: tuple[int, int], **settings: Any) -> Any:
    """Build a transformer with code from programs that train without labels."""
    file = folder / "clustercontrast" / "models" / "vision_transformer.py"
    spec = importlib.util.spec_from_file_location("vision_transformer", file)
    assert spec
    assert spec.loader
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    code.TransReID.load_param = lambda *_: None  # it would load a file
    norm = partial(nn.LayerNorm, eps=1e-6)
    return code.TransReID(img_size=size, qkv_bias=True, norm_layer=norm, **TINY | settings)


def clip(folder: Path, size: tuple[int, int], width: int = 768, **model: Any) -> Any:
    """Build CLIP-ReID's network with its image transformer, without CLIP's weight file."""

    def visual(layers: Any, height: int, across: int) -> Any:
        stride, heads = model["STRIDE_SIZE"][0], width // 64 or 4
        return layers.VisionTransformer(height, across, 16, stride, width, 12, heads, 512)

    network = with_clip(folder, size, visual, CAMERAS, NAME="ViT-B-16", **model)
    network.bottleneck = nn.BatchNorm1d(width)
    if model.get("SIE_CAMERA"):
        network.cv_embed = nn.Parameter(torch.zeros(CAMERAS, width))
    return network


def clip_resnet(folder: Path, size: tuple[int, int], layers: Any = (3, 4, 6, 3)) -> Any:
    """Build CLIP-ReID's network with its ResNet, without CLIP's weight file."""

    def visual(code: Any, height: int, width: int) -> Any:
        return code.ModifiedResNet(layers, 1024, 32, height * width, 64)

    return with_clip(folder, size, visual, 0, NAME="RN50")


def with_clip(folder: Path, size: tuple[int, int], visual: Any, cameras: int, **model: Any) -> Any:
    """Build CLIP-ReID's network. visual: (CLIP's module, height, width) → the image encoder."""
    make = module_of(folder, "model.make_model")
    code = sys.modules["model.clip.model"]
    make.load_clip_to_cpu = lambda name, height, width, stride: SimpleNamespace(
        visual=visual(code, height, width), to=lambda device: None
    )
    return make.build_transformer(NUM_CLASSES, cameras, 0, configuration(size, **model))


def solider(folder: Path, size: tuple[int, int], kind: str = "", **settings: Any) -> Any:
    """Build SOLIDER's network. settings: the settings of a shrunken network."""
    for name in ("mmcv", "mmcv.runner", "cv2"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["mmcv.runner"].load_checkpoint = None  # type: ignore[attr-defined]
    setattr(torch.Tensor, "cuda", torch.Tensor.cpu)  # noqa: B010
    make = module_of(folder, "model.make_model")
    code = sys.modules["model.backbones.swin_transformer"]

    def tiny(img_size: Any, **options: Any) -> Any:
        return code.SwinTransformer(pretrain_img_size=img_size, **options, **settings)

    build = getattr(code, f"swin_{kind}_patch4_window7_224") if kind else tiny
    config = configuration(size, TRANSFORMER_TYPE=kind)
    return make.build_transformer(NUM_CLASSES, 0, 0, config, {kind: build}, 0.2)


def fastreid(
    folder: Path, size: tuple[int, int], config: str, layers: Any = None, non_local: Any = None
) -> Any:
    """Build a network with fast-reid's code. layers, non_local: blocks of a shrunken ResNet."""
    options = module_of(folder, "fastreid.config").get_cfg()
    options.merge_from_file(str(folder / "configs" / f"{config}.yml"))
    options.MODEL.BACKBONE.PRETRAIN, options.MODEL.DEVICE = False, "cpu"
    options.MODEL.HEADS.NUM_CLASSES = NUM_CLASSES
    sys.path.insert(0, str(folder))
    network = importlib.import_module("fastreid.modeling.meta_arch").build_model(options)
    sys.path.remove(str(folder))
    if layers:
        code = sys.modules["fastreid.modeling.backbones.resnet"]
        ibn, attends = options.MODEL.BACKBONE.WITH_IBN, options.MODEL.BACKBONE.WITH_NL
        network.backbone = code.ResNet(
            1, "BN", ibn, False, attends, code.Bottleneck, layers, non_local
        )
    return network


def half_range(*arguments: Any) -> Any:
    """Return the features that TransReID's test code and the code built on it compute."""
    return features_of(Normalize([0.5] * 3, [0.5] * 3), *arguments)


def first_of_half_range(*arguments: Any) -> Any:
    """Return SOLIDER's features, without the feature maps that its network also returns."""
    return half_range(*arguments)[0]


def with_imagenet(*arguments: Any, **resize: Any) -> Any:
    """Return the features that CLIP-ReID's test code computes with its ResNet."""
    values = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return features_of(values, *arguments, **resize)


def of_cluster_contrast(*arguments: Any) -> Any:
    """Return unit-length features, as programs that train without labels compute them."""
    return nn.functional.normalize(with_imagenet(*arguments, interpolation=3))


def features_of(
    values: Any, network: Any, images: list[Any], size: tuple[int, int], sides: Any, **resize: Any
) -> Any:
    """Return a network's output for images that `values` has normalised."""
    test = Compose([ToPILImage(), Resize(size, **resize), ToTensor(), values])
    cameras = {} if sides is None else {"cam_label": sides}
    return network(torch.stack([test(image) for image in images]), **cameras)


def as_fastreid(network: Any, images: list[Any], size: tuple[int, int], sides: Any) -> Any:
    """Return the features that fast-reid's test code computes."""
    test = Compose([ToPILImage(), Resize(size, interpolation=3), PILToTensor()])
    return network({"images": torch.stack([test(image).float() for image in images])})


# Builder: (network, images, size, cameras) → the authors' features.
TESTS = {
    transreid: half_range, clip: half_range, clip_resnet: with_imagenet, fastreid: as_fastreid,
    solider: first_of_half_range, cluster_contrast: of_cluster_contrast,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The authors' network and ours, to be compared.

    repository: the checkout, and a folder in it.
    build: (folder, size, **model) → their module.
    backbone: the name of our network.
    model: arguments of the builder.
    size: (height, width) of the images.
    changes: fields of our entry that shrink it.
    """

    repository: str
    build: Callable[..., Any]
    backbone: str
    model: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (256, 128)
    changes: dict[str, Any] = field(default_factory=dict)


def shrunken(
    repository: str, build: Any, backbone: str, dim: int = 48, extra: Any = (), **model: Any
) -> Case:
    """Return the case for a transformer with two blocks. extra: further settings of our network."""
    settings = TINY | dict(extra)
    changes = {"settings": settings, "dim": dim, "channels": 48}
    return Case(repository, build, backbone, model, (64, 32), changes)


def of_fastreid(
    config: str, backbone: str, layers: Any = None, non_local: Any = None, size: Any = (256, 128)
) -> Case:
    """Return the case for a fast-reid configuration."""
    model = {"config": f"Market1501/{config}"}
    if not layers:
        return Case("JDAI-CV+fast-reid", fastreid, backbone, model, size)
    changes = {"layers": layers, "non_local": non_local}
    return Case("JDAI-CV+fast-reid", fastreid, backbone, model | changes, (64, 32), changes)


TRANSREID, SSL = "damo-cv+TransReID", "damo-cv+TransReID-SSL/transreid_pytorch"
PASS, CLIP_REID = "CASIA-IVA-Lab+PASS-reID/PASS_transreid", "Syliz517+CLIP-ReID"
SSL_USL = "damo-cv+TransReID-SSL/cluster-contrast-reid"
PASS_USL = "CASIA-IVA-Lab+PASS-reID/PASS_cluster_contrast_reid"
SOLIDER, ONE_EACH = "tinyvision+SOLIDER-REID", (1, 1, 1, 1)
WINDOWS: dict[str, Any] = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
PERSONVIT = "hustvl+PersonViT/transreid_pytorch"
CAMERA: dict[str, Any] = {"SIE_CAMERA": True}
STRIDE12: dict[str, Any] = {"STRIDE_SIZE": [12, 12]}
JPM, STEM = {"local": True}, {"STEM_CONV": True}
SHALLOW = {"mlp_ratio": 3.0, "qkv_bias": False, "scale": 0.1}
CLIP = {"SIE_COE": 1.0, "STRIDE_SIZE": [16, 16]} | CAMERA
OF_CLIP = {"depth": 12, "side": 1.0, "pre_norm": True, "act_layer": "quick_gelu"}
KIND = "{}_patch16_224_TransReID"
VIT_S, VIT_B, DEIT_S = (
    {"kind": KIND.format(size)} for size in ("vit_small", "vit_base", "deit_small")
)
CASES = {
    "TransReID": shrunken(TRANSREID, transreid, "transreid_vit_base", **CAMERA),
    "TransReID stride 12": shrunken(
        TRANSREID, transreid, "transreid_vit_base_12", **CAMERA, **STRIDE12
    ),
    "TransReID JPM": shrunken(
        TRANSREID, transreid, "transreid_vit_base_jpm_sie", 240, **CAMERA, **JPM
    ),
    "TransReID JPM stride 12": shrunken(
        TRANSREID, transreid, "transreid_vit_base_jpm_sie_12", 240, **JPM, **STRIDE12
    ),
    "TransReID ViT-S": shrunken(
        TRANSREID, transreid, "transreid_vit_small", extra=SHALLOW, shallow=True, **CAMERA
    ),
    "TransReID-SSL": shrunken(SSL, transreid, "transreid_ssl_vit_small_ics", **STEM),
    "PASS": shrunken(PASS, transreid, "pass_vit_small", 96, {"reg_tokens": 3}),
    "PersonViT": shrunken(PERSONVIT, transreid, "personvit_vit_tiny"),
    "CLIP-ReID ViT": shrunken(
        CLIP_REID, clip, "clip_reid_vit_base", 48 + 512, OF_CLIP, width=48, **CLIP
    ),
    "CLIP-ReID ViT stride 12": shrunken(
        CLIP_REID,
        clip,
        "clip_reid_vit_base_sie_olp",
        48 + 512,
        OF_CLIP,
        width=48,
        **CLIP | STRIDE12,
    ),
    "fast-reid BoT": of_fastreid(
        "bagtricks_R50", "fastreid_bot_resnet50", (1, 1, 1, 1), (0, 0, 0, 0)
    ),
    "fast-reid AGW": of_fastreid("AGW_R50", "fastreid_agw_resnet50", (1, 2, 1, 1), (0, 1, 1, 0)),
    "fast-reid SBS, ibn": of_fastreid(
        "sbs_R50-ibn", "fastreid_sbs_resnet50_ibn", (1, 2, 1, 1), (0, 1, 1, 0)
    ),
    "CLIP-ReID ResNet": Case(
        CLIP_REID,
        clip_resnet,
        "clip_reid_resnet50",
        {"layers": ONE_EACH},
        (64, 32),
        {"layers": ONE_EACH},
    ),
    "SOLIDER": Case(
        SOLIDER,
        solider,
        "solider_swin_tiny",
        {**WINDOWS, "embed_dims": 24},
        (128, 64),
        {"settings": {**WINDOWS, "embed_dim": 24}, "dim": 192, "channels": 192},
    ),
    "TransReID-SSL without labels": shrunken(
        SSL_USL, cluster_contrast, "transreid_ssl_vit_small_usl"
    ),
    "TransReID-SSL without labels, whole": Case(
        SSL_USL,
        cluster_contrast,
        "transreid_ssl_vit_small_ics_usl",
        {"embed_dim": 384, "depth": 12, "num_heads": 6, "conv_stem": True},
    ),
    "PASS without labels": shrunken(
        PASS_USL, cluster_contrast, "pass_vit_small_usl", 96, {"reg_tokens": 3}
    ),
    "CLIP-ReID ResNet, whole": Case(CLIP_REID, clip_resnet, "clip_reid_resnet50"),
    "LUPerson MGN, whole": Case(
        "DengpanFu+LUPerson/fast-reid",
        fastreid,
        "luperson_mgn_resnet50",
        {"config": "CMDM/mgn_R50_moco"},
        (384, 128),
    ),
    "SOLIDER Swin-T, whole": Case(
        SOLIDER, solider, "solider_swin_tiny", {"kind": "tiny"}, (384, 128)
    ),
    "SOLIDER Swin-B, whole": Case(
        SOLIDER, solider, "solider_swin_base", {"kind": "base"}, (384, 128)
    ),
    "fast-reid SBS R50-ibn, whole": of_fastreid(
        "sbs_R50-ibn", "fastreid_sbs_resnet50_ibn", size=(384, 128)
    ),
    "fast-reid BoT R101-ibn, whole": of_fastreid(
        "bagtricks_R101-ibn", "fastreid_bot_resnet101_ibn"
    ),
    "fast-reid SBS S50, whole": of_fastreid("sbs_S50", "fastreid_sbs_resnest50", size=(384, 128)),
    "fast-reid MGN R50-ibn, whole": of_fastreid(
        "mgn_R50-ibn", "fastreid_mgn_resnet50_ibn", size=(384, 128)
    ),
    "TransReID JPM stride 12, whole": Case(
        TRANSREID, transreid, "transreid_vit_base_jpm_sie_12", VIT_B | CAMERA | JPM | STRIDE12
    ),
    "TransReID ViT-S, whole": Case(TRANSREID, transreid, "transreid_vit_small", VIT_S | CAMERA),
    "TransReID DeiT-S, whole": Case(TRANSREID, transreid, "transreid_deit_small", DEIT_S),
    "TransReID-SSL ViT-S, whole": Case(SSL, transreid, "transreid_ssl_vit_small_ics", VIT_S | STEM),
    "PASS ViT-S, whole": Case(PASS, transreid, "pass_vit_small", VIT_S),
    "PersonViT ViT-S, whole": Case(PERSONVIT, transreid, "personvit_vit_small", VIT_S),
    "CLIP-ReID ViT, whole": Case(CLIP_REID, clip, "clip_reid_vit_base", CLIP),
}


def record(sources: Path, name: str) -> dict[str, Any]:
    """Return the record of a case: what was built, and how far our features deviate from theirs."""
    case = CASES[name]
    torch.manual_seed(0)
    with redirect_stdout(StringIO()):
        network = case.build(sources / case.repository, case.size, **case.model).eval()
    repository = case.repository.split("/")[0]
    cameras = [1, CAMERAS] if case.model.get("SIE_CAMERA") else None
    found: dict[str, Any] = {
        "repository": repository.replace("+", "/"),
        "commit": (sources / repository / "COMMIT").read_text().strip(),
        "backbone": case.backbone,
        "changes": case.changes,
        "size": list(case.size),
        "cameras": cameras,
        "unit": case.build is cluster_contrast,
        "shapes": {
            key: list(value.shape)
            for key, value in network.state_dict().items()
            if value.is_floating_point()
        },
    }
    network.load_state_dict(authors_weights(found), strict=False)
    images, sides = list(images_of(case.size)), cameras and torch.tensor(cameras) - 1
    with torch.inference_mode():
        expected = TESTS[case.build](network, images, case.size, sides).numpy()
    with TemporaryDirectory() as folder:
        file = Path(folder, "authors.pth")
        torch.save(network.state_dict(), file)
        far = difference(our_features(found, file), expected)
    step = max(1, expected.shape[1] // KEPT)
    return found | {
        "features": expected[:, ::step].round(5).tolist(),
        "step": step,
        "spread": float(expected.std()),
        "difference": far,
    }


def main(argv: list[str] | None = None) -> None:
    """Compare the networks, and print and write the results."""
    parser = Parser(__doc__)
    parser.add_argument("sources", type=Path, help="folder of the checkouts")
    parser.add_argument("words", nargs="*", help="only networks whose names contain one")
    options = parser.parse_args(argv)
    sources, words = options.sources, options.words
    six = types.ModuleType("torch._six")  # PyTorch has removed it
    six.container_abcs = collections.abc  # type: ignore[attr-defined]
    sys.modules["torch._six"] = six
    records = json.loads(FIXTURE.read_text()) if FIXTURE.exists() else {}
    for name in CASES:
        if not words or any(word in name for word in words):
            records[name] = record(sources, name)
            print(f"{name:32} {records[name]['difference']:.1e}")
    records = {name: records[name] for name in CASES if name in records}
    FIXTURE.write_text(json.dumps(records, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
