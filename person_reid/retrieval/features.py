"""From images to features: the network's output, summed over mirrored and resized copies, of unit length."""

import torch
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import interpolate, normalize

from person_reid.basics import UserError, autocast, progress
from person_reid.data.augment import normalise

CPU_BATCH = 32  # the most images at a time on a CPU: of a larger batch no layer's output stays in the cache


def parse_scales(text):
    """The resize factors of a `--ms` value: "1,1.1,1.2" are areas, whose square roots resize the image.

    Raises UserError for anything but numbers above 0.
    """
    try:
        areas = [float(part) for part in text.split(",")]
    except ValueError:
        areas = []
    if not areas or not all(0 < area < float("inf") for area in areas):
        raise UserError(f"--ms {text}: expected numbers above 0, separated by commas, such as 1,1.1,1.2")
    return [area**0.5 for area in areas]


def fused_embedding(network, device):
    """The module images → features of a network on `device`, in evaluation mode, each convolution fused with the batch
    norm that follows it where the network can be traced; the same numbers, sooner."""
    network.to(device, memory_format=torch.channels_last).eval()
    embedding = _Embedding(network)
    try:
        fused = fuse(embedding)
    except Exception:  # tracing fails in as many ways as networks branch; then the network runs as it is
        return embedding
    fused.pieces = embedding.pieces
    return fused


class _Embedding(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.pieces = network.pieces

    def forward(self, images):
        return self.network.embed(images)


@torch.inference_mode()
def extract_features(
    embed, bank, device, batch_size, scales=(1.0,), flip=True, dtype=None, description="features", unit=True
):
    """Features (N, D) float32 on the CPU of a bank of N images, uint8 (N, H, W, 3).

    embed: (B, 3, H, W) → (B, D), such as fused_embedding gives; one with an attribute `pieces` has a feature of several
    pieces, each of them normalised by itself. scales: factors by which the image is resized (bicubic), always from the
    original. flip: add the mirrored image's output. dtype: of autocast, torch.float16 or torch.bfloat16; None:
    float32. unit: L2-normalise them; else they have the length that the network gives them.

        feature = Σ_scale Σ_{image, mirrored} embed(resize(image, scale)), divided by its length
    """
    if device.type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    features = []
    with progress(total=len(bank), desc=description, unit=" images") as bar:
        for chunk in bank.split(batch_size):
            images = normalise(chunk.to(device))
            views = [images, images.flip(3)] if flip else [images]
            with autocast(device, dtype):
                total = sum(embed(_resize(view, scale)).float() for scale in scales for view in views)
            features.append((unit_length(total, getattr(embed, "pieces", 1)) if unit else total).cpu())
            bar.update(len(chunk))
    return torch.cat(features).numpy()


def unit_length(features, pieces=1):
    """Features (B, D) at length 1; with several pieces, (B, D / pieces, pieces) flattened, each at length 1/√pieces."""
    return normalize(features.unflatten(1, (-1, pieces)), dim=1).flatten(1) / pieces**0.5


def _resize(images, scale):
    if scale == 1:
        return images
    return interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
