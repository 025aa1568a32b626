"""From images to features: the network's output, summed over mirrored and resized copies, of unit length."""

import torch
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import interpolate, normalize

from reid.data.augment import normalise
from utils import UserError, progress


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


def fused_embedding(network):
    """The function images → features of a network in evaluation mode, each convolution fused with the batch norm that
    follows it where the network can be traced; the same numbers, sooner."""
    network.eval()
    try:
        return fuse(_Embedding(network))
    except Exception:  # tracing fails in as many ways as networks branch; then the network runs as it is
        return network.embed


class _Embedding(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network.embed(images)


@torch.inference_mode()
def extract_features(embed, bank, device, batch_size, scales=(1.0,), flip=True, dtype=None, description="features"):
    """Features (N, D) float32 on the CPU, L2-normalised, of a bank of N images, uint8 (N, H, W, 3).

    embed: (B, 3, H, W) → (B, D). scales: factors by which the image is resized (bicubic), always from the original.
    flip: add the mirrored image's output. dtype: of autocast, torch.float16 or torch.bfloat16; None is float32.

        feature = Σ_scale Σ_{image, mirrored} embed(resize(image, scale)), divided by its length
    """
    features = []
    with progress(total=len(bank), desc=description, unit=" images") as bar:
        for chunk in bank.split(batch_size):
            images = normalise(chunk.to(device))
            views = [images, images.flip(3)] if flip else [images]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                total = sum(embed(_resize(view, scale)).float() for scale in scales for view in views)
            features.append(normalize(total, dim=1).cpu())
            bar.update(len(chunk))
    return torch.cat(features).numpy()


def _resize(images, scale):
    if scale == 1:
        return images
    return interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
