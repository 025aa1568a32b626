"""Where in the image a network finds its features: the energy of its last feature map, for every kind of network."""

import torch
from torch.nn.functional import interpolate

from person_reid.basics import UserError
from person_reid.data.augment import normalise
from person_reid.models.lightmbn import BRANCHES, LightMBN
from person_reid.models.mgn import MGN
from person_reid.models.network import USAMNetwork
from person_reid.models.pcb import PCB, STRIPES

CHUNK = 32  # images at a time
MOST_PREFIX = 16  # tokens of class and registers before those of patches


@torch.inference_mode()
def activations(network, bank, device="cpu"):
    """Heat maps of a bank of images, uint8 (N, H, W, 3): {name: (N, H, W) float32 on the CPU, each from 0 to 1}.

    A network of several branches has a map for each, others have one, named "". The heat at a position is

        Σ_c A_c², the energy of the feature map A there,

    spread bicubically over the image and stretched to 0..1, in each image (with PCB in each stripe) by itself.
    Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017, equation 1 with p = 2.
    Raises UserError for a network that shows no feature map.
    """
    found: dict[str, list[torch.Tensor]] = {}
    network.to(device).eval()
    for chunk in bank.split(CHUNK):
        for name, maps in feature_maps(network, normalise(chunk.to(device))).items():
            energy = maps.float().square().sum(1, keepdim=True)
            heat = interpolate(energy, chunk.shape[1:3], mode="bicubic", align_corners=False)[:, 0].clamp(min=0).cpu()
            found.setdefault(name, []).append(stretched(heat, parts_of(network)))
    return {name: torch.cat(maps).numpy() for name, maps in found.items()}


def stretched(heat, parts=1):
    """Maps (N, H, W) moved and scaled to 0..1, in each of `parts` horizontal stripes by itself; flat ones become 0."""
    stripes = []
    for stripe in heat.tensor_split(parts, dim=1):
        low, high = stripe.amin((1, 2), keepdim=True), stripe.amax((1, 2), keepdim=True)
        stripes.append((stripe - low) / (high - low).clamp(min=1e-12))
    return torch.cat(stripes, dim=1)


def parts_of(network):
    """Into how many stripes the network cuts its map."""
    return STRIPES if isinstance(network, PCB) else 1


def feature_maps(network, images):
    """The feature maps (B, C, h, w) before the pooling: {name of the branch, or "": map}. images: (B, 3, H, W)."""
    if isinstance(network, MGN):
        shared = network.model["trunk"](images)
        branches = zip(("whole", "halves", "thirds"), network.model["branches"], strict=True)
        return {name: branch(shared) for name, branch in branches}
    if isinstance(network, LightMBN):
        shared = network.model["backbone"](images)
        maps = {name.removesuffix("_branch"): network.model[name](shared) for name in BRANCHES}
        maps["global"] = network.batch_drop_block["drop_batch_bottleneck"](maps["global"])
        return maps
    if isinstance(network, USAMNetwork):
        return {"": _input_of(network.pooling, lambda: network.pooled(images))}
    module = network.model
    maps = network.entry.feature_map(module, images) if network.entry.has_map else _last_map(module, images)
    return {"": on_grid(maps, images.shape[2:], getattr(module, "num_prefix_tokens", None))}


def on_grid(maps, size, prefix=None):
    """Tokens (B, C, N, 1) of a transformer as a map (B, C, h, w), without those of class and registers; a map as it is.

    size: (height, width) of the images; prefix: how many tokens stand before those of the patches, None if unknown.
    The grid is that of the square patches with which the numbers agree. Raises UserError where there is none.
    """
    count = maps.shape[2]
    if maps.shape[3] != 1 or count <= 1:
        return maps
    grids = {(size[0] // patch) * (size[1] // patch): patch for patch in range(min(size), 0, -1)}
    ahead = range(MOST_PREFIX + 1) if prefix is None else (prefix,)
    for first in ahead:
        if count - first in grids:
            patch = grids[count - first]
            return maps[:, :, first:, 0].unflatten(2, (size[0] // patch, size[1] // patch))
    raise UserError(f"{count} tokens of images {size[0]}×{size[1]} are no grid of square patches; no heat map of them.")


def _input_of(module, call):
    """What `module` is called with first while call() runs."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        call()
    finally:
        handle.remove()
    return seen[0]


def _last_map(module, images):
    """The last output of a layer, of an opaque network, that has several positions: maps (B, C, h, w), or tokens."""
    last: list[torch.Tensor] = []

    def remember(_, inputs, output):
        if not isinstance(output, torch.Tensor) or len(output) != len(images):
            return
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last[:] = [output]
        elif output.ndim == 3 and output.shape[1] > 1:
            last[:] = [output.mT[..., None]]

    layers = [layer for layer in module.modules() if not any(layer.children())]
    handles = [layer.register_forward_hook(remember) for layer in layers]
    try:
        module(images)
    finally:
        for handle in handles:
            handle.remove()
    if not last:
        raise UserError("no layer of this network has an output with several positions; no heat map of it.")
    return last[0]
