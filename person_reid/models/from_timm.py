"""Backbones that timm builds.

The layout of a network's last features decides how to read and pool them.
"""

from __future__ import annotations

import inspect
import logging
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

from person_reid.errors import UserError, first_line
from person_reid.models.architecture import PERSON, SIZE_ERRORS, Architecture, stochastic_depth
from person_reid.models.published.hub import quick_to_fail

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)
HUB = "hf-hub:"
# Networks that differ from timm's description, by the beginning of their names.
BUILT_ON_CPU = "regnet"  # PyTorch 2.6 has no torch.unique on meta
RESAMPLES = "resnet"  # CLIP's: their pooling resamples its position embeddings in each forward pass
# The fields that follow from a layout. map: (B, C, h, w); grid: the same with the channels last;
# patches: tokens on a grid, besides the class token and registers; tokens: tokens without a grid;
# opaque: anything else.
LAYOUTS: dict[str, dict[str, Any]] = {
    "map": {},
    "grid": {"can_keep_resolution": False},
    "patches": {"can_keep_resolution": False, "own_feature": True},  # often the class token
    "tokens": {"can_keep_resolution": False},
    "opaque": {"can_keep_resolution": False, "own_feature": True, "has_map": False},
}


@dataclass(frozen=True)
class TimmArchitecture(Architecture):
    """A timm network.

    layout: a key of LAYOUTS. without_head: whether to remove the norm that timm puts after the
    pooling, and the norm's keys.
    """

    layout: str = "map"
    without_head: bool = False

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from torch import nn

        image_size = tuple(size) if _is_fixed(self.name) else None
        module = _create(
            self.name, pretrained=pretrained, img_size=image_size, drop_path_rate=drop_path
        )
        if self.without_head:
            module.head = nn.Identity()
        return module

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        features = module.forward_features(images)
        if self.layout == "grid":
            features = features.permute(0, 3, 1, 2)
        elif self.layout == "patches":
            features = features[:, module.num_prefix_tokens :].mT.unflatten(
                2, module.patch_embed.grid_size
            )
        return features.mT[..., None] if self.layout == "tokens" else features

    def after_pool(self, module: Any, pooled: Tensor) -> Tensor:
        """Apply timm's head, which includes the pooling.

        That pooling has no effect here, because `pooled` is a single position.
        """
        if self.without_head or self.layout == "tokens":
            return pooled
        if self.layout == "map":
            pooled = pooled[:, :, None, None]
        elif self.layout == "grid":
            pooled = pooled[:, None, None]
        else:
            pooled = pooled[:, None].expand(-1, module.num_prefix_tokens + 1, -1)
        return module.forward_head(pooled)

    def converted(self, module: nn.Module, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the authors' file with timm's own filter for the module.

        The names in the file may begin with `model.`, as in our checkpoints.
        """
        own = module.state_dict().keys()
        begin = "model." if any(name.startswith("model.") for name in state_dict) else ""
        given = {name.removeprefix(begin): value for name, value in state_dict.items()}
        convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        if convert is None or own <= given.keys():
            return state_dict
        takes = inspect.signature(convert).parameters
        options = {"adapt_layer_scale": True} if "adapt_layer_scale" in takes else {}  # DeiT-III
        try:
            with redirect_stdout(StringIO()):  # the filter prints
                found = convert(given, module, **options)
        except Exception:  # it may fail in any way on the file of another network
            return state_dict
        if len(own & found.keys()) <= len(own & given.keys()):
            return state_dict
        return {begin + name: value for name, value in found.items()}

    def source(self) -> str:
        hub = getattr(_config(self.name), "hf_hub_id", None)
        if not hub:
            return ""
        from huggingface_hub.constants import HF_HUB_CACHE

        folder = f"models--{hub.replace('/', '--')}"
        return (
            f"Run `hf download {hub} model.safetensors` on a machine with internet access, "
            f"and copy {folder} from its cache to {HF_HUB_CACHE} here."
        )

    def licence(self) -> str:
        return str(getattr(_config(self.name), "license", None) or "unknown")


def timm_entry(name: str, dim: int, layout: str = "map", **fields: Any) -> TimmArchitecture:
    """Return the TimmArchitecture of timm's network `name`; layout: a key of LAYOUTS."""
    return TimmArchitecture(name, dim, layout, **(LAYOUTS[layout] | fields))


@cache
def current_name(name: str) -> str:
    """Return the current name of a network that timm has renamed, and log it once."""
    import timm

    known = str(timm.models.get_deprecated_models().get(name) or name)
    if known != name:
        # A few networks no longer have weights.
        known = known if is_timm(known) else known.partition(".")[0]
        log.info("timm calls %s %s now.", name, known)
    return known


@cache
def find_timm(name: str) -> TimmArchitecture:
    """Return the architecture of any timm network.

    A run without data determines its layout, widths and stochastic depth.

    Images have the shape of a person, reduced to whole patches for a transformer with a grid of
    patches. If the network has a fixed size and no such grid, or cannot process that shape, images
    have the size of its weights. Raises UserError if it cannot process these either.
    """
    from person_reid.models.surgery import shapes_alone

    own = _config(name).input_size[1:]
    with shapes_alone():
        for size in (_person_size(name) or own, own):
            try:
                return _described(name, size)
            except (RuntimeError, ValueError, *SIZE_ERRORS) as error:
                reason = first_line(error)
    raise UserError(
        f"backbone={name}: it cannot process images of {own[0]}×{own[1]} ({reason}). "
        "Choose another one."
    )


def _person_size(name: str) -> tuple[int, int] | None:
    """Return the size of images of people that suits a network.

    Returns None for a network of fixed size without a grid of patches.
    """
    from timm.layers.helpers import to_2tuple

    if not _is_fixed(name):
        return PERSON
    module = _create(name)
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    if not patch or not hasattr(module, "num_prefix_tokens"):
        return None
    height, width = to_2tuple(patch)
    return PERSON[0] // height * height, PERSON[1] // width * width


def _described(name: str, size: tuple[int, int]) -> TimmArchitecture:
    """Return the architecture of a network for images of `size`."""
    import torch

    module = _create(name, img_size=size if _is_fixed(name) else None).eval()
    depth = round(max(stochastic_depth(module), default=0.0), 6)
    images = torch.zeros(1, 3, *size)
    architecture = timm_entry(
        name, module.head_hidden_size, _layout(module, images), size=size, drop_path=depth
    )
    channels = _channels(architecture, module, images)
    if not channels:
        return timm_entry(name, architecture.dim, "opaque", size=size, drop_path=depth)
    return replace(architecture, channels=channels, own_feature=True)


def _layout(module: Any, images: Tensor) -> str:
    """Return the layout of a module's last features."""
    import torch

    features = module.forward_features(images)
    if not isinstance(features, torch.Tensor):
        return "opaque"
    if features.ndim == 4:
        return "grid" if getattr(module, "output_fmt", "") == "NHWC" else "map"
    if hasattr(module, "num_prefix_tokens") and hasattr(
        getattr(module, "patch_embed", None), "grid_size"
    ):
        return "patches"
    return "tokens"


def _channels(architecture: TimmArchitecture, module: nn.Module, images: Tensor) -> int:
    """Return the number of channels of the feature map, or 0 if there is no map to pool."""
    if not architecture.has_map:
        return 0
    try:
        maps = architecture.feature_map(module, images)
        pooled = architecture.after_pool(module, maps.mean((2, 3)))
    # The tokens are not patches, or the head has its own pooling.
    except (RuntimeError, TypeError):
        return 0
    return maps.shape[1] if pooled.shape == (1, architecture.dim) else 0


def is_timm(name: str) -> bool:
    """Return whether timm has a network called `name`.

    The name may end in a tag of weights (`resnet50.a1_in1k`), or be on the hub
    (`hf-hub:OWNER/NAME`).
    """
    import timm

    if name.startswith(HUB):
        return True
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        return False
    try:
        return not tag or timm.models.get_pretrained_cfg(name) is not None
    except RuntimeError:  # timm raises it for an unknown tag
        return False


def timm_names() -> list[str]:
    """Return the names of timm's networks."""
    import timm

    return list(timm.list_models())


def _create(name: str, **settings: Any) -> Any:
    """Build timm's module without its classifier.

    drop_path_rate is omitted if the network does not take it.
    """
    import timm
    import torch

    place = torch.empty(0).device
    built_on = "cpu" if name.startswith(BUILT_ON_CPU) else place
    fetches = settings.get("pretrained") or name.startswith(HUB)
    with quick_to_fail() if fetches else nullcontext(), torch.device(built_on):
        try:
            module = timm.create_model(name, num_classes=0, **settings)
        except TypeError as error:
            if "drop_path_rate" not in settings or "drop_path_rate" not in str(error):
                raise
            # timm drops an argument of None.
            module = timm.create_model(name, num_classes=0, **(settings | {"drop_path_rate": None}))
    return module.to(place)  # timm 1.0.22 leaves the periods of rotary embeddings on the CPU


def _is_fixed(name: str) -> bool:
    """Return whether a network's image size is fixed and timm cannot resample its weights."""
    fixed = bool(getattr(_config(name), "fixed_input_size", False))
    return fixed and not name.startswith(RESAMPLES)


@cache
def _config(name: str) -> Any:
    """Return timm's description of a network.

    Raises UserError if it is on the hub and cannot be fetched.
    """
    import timm

    if not name.startswith(HUB):
        return timm.get_pretrained_cfg(name)
    place = name.removeprefix(HUB)
    try:
        with quick_to_fail():
            config, architecture, _ = timm.models.load_model_config_from_hf(place)
        if not timm.is_model(architecture):
            raise ValueError(f"{architecture} is not a network of timm {timm.__version__}")
        return timm.models.PretrainedCfg(**config)
    except Exception as error:  # each cause has its own exception
        raise UserError(
            f"backbone={name}: no network of timm was found there ({first_line(error, 160)}). "
            f"Without a connection, run `hf download {place}` elsewhere and copy the cache of the "
            "Hugging Face hub here."
        ) from error
