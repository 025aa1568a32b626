"""Backbones that timm builds. Its networks give their last features in one of three layouts."""

from dataclasses import dataclass, replace
from functools import cache

from person_reid.models.backbone import PERSON, Backbone, stochastic_depth

# What the layout of the last features decides. map: (B, C, h, w); grid: the same with the channels last; patches:
# tokens on a grid, beside those of class and registers; tokens: without a grid; opaque: something else.
LAYOUTS = {
    "map": {},
    "grid": {"can_keep_resolution": False},
    "patches": {"can_keep_resolution": False, "own_feature": True},  # timm's own is often the class token
    "tokens": {"can_keep_resolution": False},
    "opaque": {"can_keep_resolution": False, "own_feature": True, "has_map": False},
}


@dataclass(frozen=True)
class TimmBackbone(Backbone):
    """A network of timm. layout: a key of LAYOUTS. without_head: it loses the norm that timm puts after the pooling,
    and its keys."""

    layout: str = "map"
    without_head: bool = False

    def build(self, pretrained, size, drop_path):
        from torch import nn

        image_size = tuple(size) if _is_fixed(self.name) else None
        module = _create(self.name, pretrained=pretrained, img_size=image_size, drop_path_rate=drop_path)
        if self.without_head:
            module.head = nn.Identity()
        return module

    def feature_map(self, module, images):
        features = module.forward_features(images)
        if self.layout == "grid":
            return features.permute(0, 3, 1, 2)
        if self.layout == "patches":
            return features[:, module.num_prefix_tokens :].mT.unflatten(2, module.patch_embed.grid_size)
        return features.mT[..., None] if self.layout == "tokens" else features

    def after_pool(self, module, pooled):
        """timm's heads pool, too: they are given what has one position, which is its own mean."""
        if self.without_head or self.layout == "tokens":
            return pooled
        if self.layout == "map":
            return module.forward_head(pooled[:, :, None, None])
        if self.layout == "grid":
            return module.forward_head(pooled[:, None, None])
        return module.forward_head(pooled[:, None].expand(-1, module.num_prefix_tokens + 1, -1))

    def source(self):
        hub = getattr(_config(self.name), "hf_hub_id", None)
        return f"Run `hf download {hub}` where there is a network and copy its cache folder." if hub else ""

    def licence(self):
        return getattr(_config(self.name), "license", None) or "unknown"


def timm_entry(name, dim, layout="map", **fields):
    """The TimmBackbone of timm's network `name`; layout: a key of LAYOUTS."""
    return TimmBackbone(name, dim, layout, **{**LAYOUTS[layout], **fields})


@cache
def find_timm(name):
    """The Backbone of any network of timm: its layout, its widths and timm's own stochastic depth are read off a run
    without data.

    A transformer of square patches takes the shape of a person, cut to whole patches; another network of fixed size
    takes that of its weights.
    """
    import timm
    import torch

    size = PERSON
    with torch.device("meta"):
        module = _create(name)
        if _is_fixed(name):
            size = _config(name).input_size[1:]
            if hasattr(module, "num_prefix_tokens") and hasattr(module, "patch_embed"):
                patch = timm.layers.to_2tuple(module.patch_embed.patch_size)
                size = (PERSON[0] // patch[0] * patch[0], PERSON[1] // patch[1] * patch[1])
            module = _create(name, img_size=size)
        depth = round(max(stochastic_depth(module), default=0.0), 6)
        images = torch.zeros(1, 3, *size)
        entry = timm_entry(name, module.head_hidden_size, _layout(module.eval(), images), size=size, drop_path=depth)
        channels = _channels(entry, module, images)
    if not channels:
        return timm_entry(name, entry.dim, "opaque", size=size, drop_path=depth)
    return replace(entry, channels=channels, own_feature=True)


def _layout(module, images):
    """Which layout the last features of a module have."""
    import torch

    features = module.forward_features(images)
    if not isinstance(features, torch.Tensor):
        return "opaque"
    if features.ndim == 4:
        return "grid" if getattr(module, "output_fmt", "") == "NHWC" else "map"
    if hasattr(module, "num_prefix_tokens") and hasattr(getattr(module, "patch_embed", None), "grid_size"):
        return "patches"
    return "tokens"


def _channels(entry, module, images):
    """The channels of the feature map; 0 if there is none that can be pooled."""
    if not entry.has_map:
        return 0
    try:
        maps = entry.feature_map(module, images)
        pooled = entry.after_pool(module, maps.mean((2, 3)))
    except (RuntimeError, TypeError):  # a grid of other tokens than patches, or a head that pools in a way of its own
        return 0
    return maps.shape[1] if pooled.shape == (1, entry.dim) else 0


def is_timm(name):
    """Whether timm has a network of that name, a tag of its weights included: `resnet50.a1_in1k`."""
    import timm

    return timm.is_model(name.split(".")[0])


def timm_names():
    """The names of timm's networks."""
    import timm

    return timm.list_models()


def _create(name, **settings):
    """timm's module without its classifier; settings that it does not know are left out, those of None by timm."""
    import timm

    try:
        return timm.create_model(name, num_classes=0, **settings)
    except TypeError as error:
        if "drop_path_rate" not in settings or "drop_path_rate" not in str(error):
            raise
        return timm.create_model(name, num_classes=0, **(settings | {"drop_path_rate": None}))


def _is_fixed(name):
    """Whether a network is built for one size of images, to which timm then resamples what depends on it. The position
    embeddings of CLIP's attention pooling are resampled as they are used."""
    return bool(getattr(_config(name), "fixed_input_size", False)) and not name.startswith("resnet")


def _config(name):
    import timm

    return timm.get_pretrained_cfg(name)
