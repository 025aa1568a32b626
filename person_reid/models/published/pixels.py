"""The values of pixels that networks see."""

from torch import Tensor, nn

from person_reid.config.zoo import MEAN, STD


def unnormalised(images: Tensor) -> Tensor:
    """Return images (B, 3, H, W) normalised with ImageNet's statistics as values from 0 to 1."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return images * std + mean


class HalfRange(nn.Module):
    """Change images (B, 3, H, W) normalised with ImageNet's statistics to values from -1 to 1.

    A network trained with mean 0.5 and standard deviation 0.5 begins with it, so that all networks
    take the same images.
    """

    def forward(self, images: Tensor) -> Tensor:
        return (unnormalised(images) - 0.5) / 0.5
