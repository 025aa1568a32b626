"""Weights of transformers that were trained by another program, or at another shape, in the form of timm's."""

import math
import re

# SOLIDER's Swin Transformers have the names of mmdetection's; in timm's they read:
SWIN_NAMES = (
    (r"stages\.(\d+)\.blocks", r"layers.\1.blocks"),
    (r"attn\.w_msa\.", "attn."),
    (r"ffn\.layers\.0\.0\.", "mlp.fc1."),
    (r"ffn\.layers\.1\.", "mlp.fc2."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"(^|\.)norm3\.", r"\1norm."),
)


def timm_names_of_mmdetection(state_dict):
    """A state dict in which mmdetection's Swin Transformer has timm's names and timm's order; any other as it is.

    mmdetection merges patches at the end of a stage and gathers (channel, row, column), timm at the beginning of the
    next and (column, row, channel).
    """
    if not any(".w_msa." in name for name in state_dict):
        return state_dict
    renamed = {}
    for name, value in state_dict.items():
        if merging := re.search(r"stages\.(\d+)\.downsample", name):
            name = name.replace(merging[0], f"layers.{int(merging[1]) + 1}.downsample")
            value = value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)
        for pattern, replacement in SWIN_NAMES:
            name = re.sub(pattern, replacement, name)
        if not name.endswith("relative_position_index"):  # timm computes it
            renamed[name] = value
    return renamed


def resampled(module, name, value):
    """A position embedding (1, N, C), or a table of a window's relative positions (N, heads), in the shape of the
    module's own by bicubic interpolation; any other tensor, or of another width, as it is.

    An embedding of N patches comes from a square grid or, as people's, from one two or three times as high as wide.
    """
    from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table

    owner, _, last = name.rpartition(".")
    part = module.get_submodule(owner)
    own = part.get_parameter(last) if last in dict(part.named_parameters(recurse=False)) else None
    if own is None or own.ndim != value.ndim or own.shape[-1] != value.shape[-1]:
        return value
    if last == "relative_position_bias_table":
        return resize_rel_pos_bias_table(value, new_window_size=part.window_size, new_bias_shape=own.shape)
    if last == "pos_embed" and hasattr(part, "patch_embed"):
        height, width = part.patch_embed.grid_size
        extra = own.shape[1] - height * width
        before = _grid(value.shape[1] - extra)
        if before:
            return resample_abs_pos_embed(value, [height, width], list(before), num_prefix_tokens=extra)
    return value


def _grid(count):
    """(height, width) of a grid of `count` patches, square, 2:1 or 3:1; None where it is none of these."""
    for shape in (1, 2, 3):
        width = math.isqrt(count // shape)
        if shape * width * width == count:
            return shape * width, width
    return None
