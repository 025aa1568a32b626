"""Backbones that timm builds. Its networks give their last features in one of three layouts."""

from functools import cache
from typing import Any

import torch
from torch import nn

from person_reid.models.backbone import PERSON, Backbone, call, feature_map, stochastic_depth
from person_reid.models.resolution import keep_last_resolution


def grid(module, images):
    """(B, 3, H, W) → (B, C, h, w): the last map of a network that puts channels last."""
    return module.forward_features(images).permute(0, 3, 1, 2)


def patches(module, images):
    """(B, 3, H, W) → (B, C, h, w): a transformer's tokens of patches, without those of class and registers."""
    tokens = module.forward_features(images)[:, module.num_prefix_tokens :]
    return tokens.mT.unflatten(2, module.patch_embed.grid_size)


def tokens(module, images):
    """(B, 3, H, W) → (B, C, N, 1): all tokens of a transformer, those of class and registers, too."""
    return module.forward_features(images).mT[..., None]


def _head_of_map(module, pooled):
    """timm's head pools, too; a map of one position is its own mean."""
    return module.forward_head(pooled[:, :, None, None])


def _head_of_grid(module, pooled):
    return module.forward_head(pooled[:, None, None])


def _head_of_patches(module, pooled):
    return module.forward_head(pooled[:, None].expand(-1, module.num_prefix_tokens + 1, -1))


MAP = dict(maps=feature_map, after=_head_of_map, keep_resolution=keep_last_resolution)
GRID = dict(maps=grid, after=_head_of_grid)
PATCHES = dict(maps=patches, after=_head_of_patches, embed=call)  # timm's own feature is often the class token
TOKENS = dict(maps=tokens)
OPAQUE = dict(embed=call)


def timm_entry(name, dim, layout=MAP, without_head=False, **fields):
    """The Backbone of timm's network `name`; layout: one of the above. without_head: the network loses the norm that
    timm puts after the pooling, and its keys."""
    if without_head:
        fields = {"after": Backbone.after, **fields}
    return Backbone(
        _build(name, without_head),
        dim,
        source=lambda: _source(name),
        licence=lambda: getattr(_config(name), "license", None) or "unknown",
        **{**layout, **fields},
    )


@cache
def find_timm(name):
    """The Backbone of any network of timm: its layout, its widths and timm's own stochastic depth are read off a run
    without data.

    A transformer of square patches takes the shape of a person, cut to whole patches; another network of fixed size
    takes that of its weights.
    """
    import timm

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
        layout, channels = _layout(module.eval(), torch.zeros(1, 3, *size))
    return timm_entry(name, module.head_hidden_size, layout, size=size, channels=channels, drop_path=depth)


def _layout(module, images):
    """Which layout the last features of a module have, and their channels (0 where they are no features to pool)."""
    features = module.forward_features(images)
    if not isinstance(features, torch.Tensor):
        return OPAQUE, 0
    if features.ndim == 4:
        layout = GRID if getattr(module, "output_fmt", "") == "NHWC" else MAP
    elif hasattr(module, "num_prefix_tokens") and hasattr(getattr(module, "patch_embed", None), "grid_size"):
        layout = PATCHES
    else:
        layout = TOKENS
    try:
        maps = layout["maps"](module, images)
        pooled = layout.get("after", Backbone.after)(module, maps.mean((2, 3)))
    except (RuntimeError, TypeError):  # a grid of other tokens than patches, or a head that pools in a way of its own
        return OPAQUE, 0
    if pooled.shape != (1, module.head_hidden_size):
        return OPAQUE, 0
    return {**layout, "embed": call}, maps.shape[1]


def is_timm(name):
    """Whether timm has a network of that name, a tag of its weights included: `resnet50.a1_in1k`."""
    import timm

    return timm.is_model(name.split(".")[0])


def timm_names():
    """The names of timm's networks."""
    import timm

    return timm.list_models()


def _create(name, **settings) -> Any:
    """timm's module without its classifier; settings that it does not know are left out, those of None by timm."""
    import timm

    try:
        return timm.create_model(name, num_classes=0, **settings)
    except TypeError as error:
        if "drop_path_rate" not in settings or "drop_path_rate" not in str(error):
            raise
        return timm.create_model(name, num_classes=0, **(settings | {"drop_path_rate": None}))


def _build(name, without_head=False):
    def build(pretrained, size, drop_path):
        image_size = tuple(size) if _is_fixed(name) else None
        module = _create(name, pretrained=pretrained, img_size=image_size, drop_path_rate=drop_path)
        if without_head:
            module.head = nn.Identity()
        return module

    return build


def _is_fixed(name):
    """Whether a network is built for one size of images, to which timm then resamples what depends on it. The position
    embeddings of CLIP's attention pooling are resampled as they are used."""
    return bool(getattr(_config(name), "fixed_input_size", False)) and not name.startswith("resnet")


def _config(name):
    import timm

    return timm.get_pretrained_cfg(name)


def _source(name):
    hub = getattr(_config(name), "hf_hub_id", None)
    return f"Run `hf download {hub}` where there is a network and copy its cache folder." if hub else ""
