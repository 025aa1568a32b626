"""Convert transformer weights to timm's form.

The weights come from other programs, or are for other image shapes.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

# SOLIDER's Swin Transformers have mmdetection's names; the timm names for them:
SWIN_NAMES = (
    (r"stages\.(\d+)\.blocks", r"layers.\1.blocks"),
    (r"attn\.w_msa\.", "attn."),
    (r"ffn\.layers\.0\.0\.", "mlp.fc1."),
    (r"ffn\.layers\.1\.", "mlp.fc2."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"(^|\.)norm3\.", r"\1norm."),
)

PATCH = 16  # pixels; for patches side by side, any size gives the same grid
# timm computes these from the size of the images.
COMPUTED = ("relative_position_index", "relative_coords_table", "attn_mask")


def timm_names_of_mmdetection(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of mmdetection's Swin Transformer to timm's names and order.

    Any other state dict is returned unchanged.

    mmdetection merges patches at the end of a stage in the order (channel, row, column); timm
    merges them at the start of the next stage in the order (column, row, channel).
    """
    if not any(".w_msa." in name for name in state_dict):
        return state_dict
    renamed = {}
    for name, value in state_dict.items():
        if merging := re.search(r"stages\.(\d+)\.downsample", name):
            name = name.replace(merging[0], f"layers.{int(merging[1]) + 1}.downsample")
            value = torch.unflatten(value, -1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)
        for pattern, replacement in SWIN_NAMES:
            name = re.sub(pattern, replacement, name)
        if not name.endswith(COMPUTED):
            renamed[name] = value
    return renamed


def resampled(module: nn.Module, name: str, value: Tensor) -> Tensor:
    """Resample a position embedding to the shape of the module's own, by bicubic interpolation.

    value: an embedding (1, N, C), or the table of a window's relative positions (N, heads); any
    other tensor, or one of another width, is returned unchanged. An embedding of N patches comes
    from a square grid or, for images of people, from a grid two or three times as high as wide.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    owner, _, last = name.rpartition(".")
    part: Any = module.get_submodule(owner)
    own = part.get_parameter(last) if last in dict(part.named_parameters(recurse=False)) else None
    if own is None or own.ndim != value.ndim or own.shape[-1] != value.shape[-1]:
        return value
    if last == "relative_position_bias_table":
        value = resize_rel_pos_bias_table(
            value, new_window_size=part.window_size, new_bias_shape=own.shape
        )
    elif last == "pos_embed" and hasattr(part, "patch_embed"):
        height, width = part.patch_embed.grid_size
        extra = own.shape[1] - height * width
        if before := _grid(value.shape[1] - extra, getattr(part.patch_embed, "stride", PATCH)):
            value = resample_abs_pos_embed(
                value, [height, width], list(before), num_prefix_tokens=extra
            )
    return value


def _grid(count: int, stride: int) -> tuple[int, int] | None:
    """Return the (height, width) of a grid of `count` patches on a square, 2:1 or 3:1 image.

    stride: pixels between patches of PATCH pixels. An image is a multiple of PATCH wide. Returns
    None if nothing fits.
    """
    for shape in (1, 2, 3):
        for side in range(PATCH, PATCH * count + 1, PATCH):
            height, width = ((pixels - PATCH) // stride + 1 for pixels in (shape * side, side))
            if height * width == count:
                return height, width
    return None
