"""Every backbone under its name: our own, the published ones, and all that timm and torchvision know.

A backbone is a module that turns (B, 3, H, W) normalised images into (B, dim) pooled features, its state-dict keys
being those of the library it comes from, since published checkpoints are written in them. To add one, write an entry of
`BACKBONES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from reid.models.ibn import WEIGHTS as IBN_WEIGHTS
from reid.models.ibn import ibn_a
from reid.models.osnet import OSNet
from utils import UserError, did_you_mean

PERSON = (256, 128)


@dataclass(frozen=True)
class Backbone:
    """How to build a network and how to use it.

    build: build(pretrained, size) → the library's module. dim: width D of its feature. maps: maps(module, images
    (B, 3, H, W)) → the last feature map (B, channels, h, w), a transformer's N tokens as (B, channels, N, 1); None for
    a network that shows none. channels: of the map, D unless said. after: after(module, pooled (B, channels)) → (B, D),
    what the network does between pooling and feature. embed: embed(module, images) → (B, D), the network's own feature
    where that is not `after` the mean of `maps`. size: the input's (height, width) where no other is asked for.
    keep_resolution: changes a module in place so that the last stage keeps its resolution (`--stride 1`); None where
    that has no meaning. source: source() → which file its ImageNet weights are, and where to put it. licence:
    licence() → that of those weights.
    """

    build: Callable
    dim: int
    maps: Callable | None = None
    channels: int = 0
    after: Callable = lambda module, pooled: pooled
    embed: Callable | None = None
    size: tuple = PERSON
    keep_resolution: Callable | None = None
    source: Callable[[], str] = lambda: ""
    licence: Callable[[], str] = lambda: "unknown"

    def __post_init__(self):
        if not self.channels:
            object.__setattr__(self, "channels", self.dim)

    def feature(self, module, images, pooling=None):
        """(B, 3, H, W) images → (B, dim), pooled by `pooling`, (B, channels, h, w) → (B, channels), or else as the
        network's library pools. Raises UserError for a pooling where there is no map to pool."""
        if pooling is None and self.embed:
            return self.embed(module, images)
        if self.maps is None:
            raise UserError("--pool: this network shows no feature map to pool; leave --pool out.")
        maps = self.maps(module, images)
        return self.after(module, maps.mean((2, 3)) if pooling is None else pooling(maps))


def find_backbone(name):
    """The Backbone called `name`: an entry of BACKBONES, else timm's, else torchvision's network of that name.

    Raises UserError with the nearest known name where there is none.
    """
    import timm
    import torchvision

    if name in BACKBONES:
        return BACKBONES[name]
    if timm.is_model(name.split(".")[0]):
        return _timm_backbone(name)
    if name in torchvision.models.list_models(module=torchvision.models):
        return _torchvision_backbone(name)
    known = [*BACKBONES, *timm.list_models(), *torchvision.models.list_models(module=torchvision.models)]
    raise UserError(
        f"--backbone {name}: unknown network.{did_you_mean(name, known)} "
        f"Known are {', '.join(BACKBONES)} and every network of timm and torchvision."
    )


def build_backbone(name, pretrained=False, stride=2, size=None):
    """The module of backbone `name` for images of `size` (height, width), and its Backbone entry.

    pretrained: ImageNet weights. stride: 1 keeps the resolution of the last stage. Raises UserError where the weights
    cannot be fetched (it names the file) and where stride 1 has no meaning for the network.
    """
    entry = find_backbone(name)
    if stride == 1 and entry.keep_resolution is None:
        raise UserError(f"--stride 1 has no meaning for {name}; leave it out.")
    try:
        module = entry.build(pretrained, size or entry.size)
    except Exception as error:  # each library and each layer of the network stack below it raises its own
        if not pretrained or isinstance(error, UserError):
            raise
        raise UserError(
            f"The ImageNet weights of {name} are not in the cache and could not be fetched ({_reason(error)}). "
            f"{entry.source()} Or name a file you have with --weights FILE, or start from random weights with "
            "--weights none."
        ) from error
    if stride == 1 and entry.keep_resolution:
        entry.keep_resolution(module)
    return module, entry


def _reason(error):
    """The first line of the innermost cause, such as `Name or service not known`."""
    if isinstance(error, URLError):
        return str(error.reason)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _file_in_cache(url):
    """Where the file of a URL comes from and where torch.hub, and what is built on it, looks for it."""
    return f"Download {url} into {torch.hub.get_dir()}/checkpoints/."


# --- torchvision -------------------------------------------------------------------------------------------------


def _torchvision(name):
    def build(pretrained, size):
        import torchvision

        return torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)

    return build


def _torchvision_source(name):
    def source():
        import torchvision

        return _file_in_cache(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)

    return source


def _resnet_maps(module, images):
    x = module.maxpool(module.relu(module.bn1(module.conv1(images))))
    return module.layer4(module.layer3(module.layer2(module.layer1(x))))


def _resnet_keep_resolution(module):
    """Stride 1 in the first block of the last stage, in the path and in the shortcut."""
    block = module.layer4[0]
    for layer in (block.conv1, block.conv2, block.downsample[0]):
        layer.stride = (1, 1)


def _resnet50_ibn_a(pretrained, size):
    module = ibn_a(_torchvision("resnet50")(False, size))
    if pretrained:
        module.load_state_dict(torch.hub.load_state_dict_from_url(IBN_WEIGHTS, map_location="cpu", weights_only=True))
    return module


def _densenet_keep_resolution(module):
    module.features.transition3.pool.stride = 1


def _features(module, images):
    return module.features(images)


def _torchvision_backbone(name):
    """A network of torchvision without its last linear layer; its width is read off that layer."""

    def build(pretrained, size):
        return _without_last_linear(_torchvision(name)(pretrained, size))[0]

    with torch.device("meta"):
        _, width = _without_last_linear(_torchvision(name)(False, None))
    return Backbone(build, width, embed=_call, source=_torchvision_source(name))


def _call(module, images):
    return module(images)


def _without_last_linear(module):
    """The module with its last nn.Linear, by order of registration, replaced by an identity, and its inputs."""
    name, last = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return module, last.in_features


# --- timm --------------------------------------------------------------------------------------------------------


def _timm(name, **settings):
    def build(pretrained, size):
        import timm

        options = {**settings, "img_size": size} if "img_size" in settings else settings
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)

    return build


def _timm_source(name):
    def source():
        import timm

        config = timm.get_pretrained_cfg(name)
        hub = config and config.hf_hub_id
        return f"Run `hf download {hub}` where there is a network and copy its cache folder." if hub else ""

    return source


def _timm_entry(name, dim, maps=None, size=PERSON, **settings):
    embed = None if maps else _call
    return Backbone(_timm(name, **settings), dim, maps, embed=embed, size=size, source=_timm_source(name))


def _timm_backbone(name):
    """A network of timm, pooled as timm pools it. Those with a fixed input size are built for the one asked for."""
    import timm

    with torch.device("meta"):
        module: Any = timm.create_model(name, num_classes=0)
    if module.default_cfg.get("fixed_input_size") or hasattr(module, "patch_embed"):
        size = module.default_cfg["input_size"][1:]
        return _timm_entry(name, module.head_hidden_size, size=size, img_size=None)
    return _timm_entry(name, module.head_hidden_size)


def _feature_map(module, images):
    return module.forward_features(images)


def _positions(module, images):
    """Feature map (B, h, w, C) or tokens (B, N, C), class and register tokens too → (B, C, N, 1)."""
    return module.forward_features(images).flatten(1, -2).mT[..., None]


def _convnext(pretrained, size):
    module = _timm("convnext_base")(pretrained, size)
    module.head = nn.Identity()  # the published network has neither timm's last norm nor its keys
    return module


# --- the two networks of other libraries ---------------------------------------------------------------------------


def _efficientnet(pretrained, size):
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_pretrained("efficientnet-b4") if pretrained else EfficientNet.from_name("efficientnet-b4")


def _efficientnet_source():
    from efficientnet_pytorch.utils import url_map

    return _file_in_cache(url_map["efficientnet-b4"])


def _nasnet(pretrained, size):
    from pretrainedmodels import nasnetalarge

    module = nasnetalarge(num_classes=1000, pretrained="imagenet" if pretrained else None)
    module.last_linear = nn.Identity()
    return module


def _nasnet_source():
    from pretrainedmodels.models.nasnet import pretrained_settings

    return _file_in_cache(pretrained_settings["nasnetalarge"]["imagenet"]["url"])


# --- ours --------------------------------------------------------------------------------------------------------


def _osnet(width):
    def build(pretrained, size):
        if pretrained:
            raise UserError(
                "OSNet's ImageNet weights are not downloaded automatically: take them from the authors' model zoo "
                "(deep-person-reid, MODEL_ZOO) and pass --weights FILE, or start from --weights none."
            )
        return OSNet(width)

    return build


def _osnet_keep_resolution(module):
    module.conv3[2][1] = nn.Identity()


def _torchvision_entry(name, dim, maps=_resnet_maps, keep_resolution=_resnet_keep_resolution):
    return Backbone(_torchvision(name), dim, maps, keep_resolution=keep_resolution, source=_torchvision_source(name))


def _osnet_entry(width):
    return Backbone(
        _osnet(width),
        OSNet.dim,
        _feature_map,
        channels=int(512 * width),
        after=lambda module, pooled: module.fc(pooled),
        keep_resolution=_osnet_keep_resolution,
    )


BACKBONES = {
    "resnet18": _torchvision_entry("resnet18", 512),
    "resnet34": _torchvision_entry("resnet34", 512),
    "resnet50": _torchvision_entry("resnet50", 2048),
    "resnet101": _torchvision_entry("resnet101", 2048),
    "resnet152": _torchvision_entry("resnet152", 2048),
    "resnet50_ibn_a": Backbone(
        _resnet50_ibn_a,
        2048,
        _resnet_maps,
        keep_resolution=_resnet_keep_resolution,
        source=lambda: _file_in_cache(IBN_WEIGHTS),
    ),
    "densenet121": _torchvision_entry("densenet121", 1024, _features, _densenet_keep_resolution),
    "osnet_x0_25": _osnet_entry(0.25),
    "osnet_x0_5": _osnet_entry(0.5),
    "osnet_x0_75": _osnet_entry(0.75),
    "osnet_x1_0": _osnet_entry(1.0),
    "hrnet_w18": _timm_entry("hrnet_w18", 2048, _feature_map),
    "convnext_base": Backbone(_convnext, 1024, _feature_map, source=_timm_source("convnext_base")),
    "swin_base": _timm_entry("swin_base_patch4_window7_224", 1024, _positions, size=(224, 224)),
    "swinv2_base": _timm_entry("swinv2_base_window8_256", 1024, _positions, img_size=PERSON),
    "dinov3_vit_base": _timm_entry("vit_base_patch16_dinov3", 768, _positions),
    "efficientnet_b4": Backbone(_efficientnet, 1792, lambda m, x: m.extract_features(x), source=_efficientnet_source),
    "nasnetalarge": Backbone(_nasnet, 4032, _features, source=_nasnet_source),
}
