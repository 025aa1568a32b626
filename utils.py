"""Functions from the published utils.py, and names from earlier versions of this module."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from person_reid.console import run_script
from person_reid.device import autocast, seed_everything, select_device
from person_reid.errors import UserError
from person_reid.files import atomic_write
from person_reid.models.weight_files import read_state_dict
from person_reid.models.weights import load_matching
from person_reid.progress import progress
from person_reid.run_folder import RunFolder
from person_reid.text import did_you_mean

__all__ = [
    "CrossEntropyLabelSmooth", "UserError", "atomic_write", "autocast",
    "did_you_mean", "fuse_all_conv_bn", "load_network", "load_state_dict_mute", "progress",
    "run_script", "save_network", "seed_everything", "select_device",
]  # fmt: skip


class CrossEntropyLabelSmooth(nn.Module):
    """Cross entropy with smoothed labels: (1 − ε) · y + ε / K for K identities.

    epsilon: ε in [0, 1). use_gpu: ignored; the loss is computed on the device of the scores.
    Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016.
    """

    def __init__(self, epsilon: float = 0.1, use_gpu: bool = True) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss for scores (N, K) and labels (N,)."""
        return functional.cross_entropy(inputs, targets, label_smoothing=self.epsilon)


def fuse_all_conv_bn(model: nn.Module) -> nn.Module:
    """Fold every BatchNorm2d into the convolution before it, in place, and return the model.

    The model must be in eval mode. The norm becomes an Identity. Only norms that follow their
    convolution in the same module are folded.
    """
    name_before, before = "", nn.Module()
    for name, module in list(model.named_children()):
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            setattr(model, name_before, fuse_conv_bn_eval(before, module))
            setattr(model, name, nn.Identity())
        else:
            fuse_all_conv_bn(module)
        name_before, before = name, module
    return model


def save_network(
    network: nn.Module, dirname: str, epoch_label: str | int, local_rank: int = -1
) -> None:
    """Write model/DIRNAME/net_LABEL.pth, whole or not at all; only the first process writes."""
    if local_rank <= 0:
        RunFolder(dirname).save_weights(epoch_label, network.state_dict())


def load_network(
    network: nn.Module, dirname: str = "ft_ResNet50", epoch_label: str | int = "last"
) -> nn.Module:
    """Load model/DIRNAME/net_LABEL.pth into a network, and return it.

    Raises FileNotFoundError if the file is missing.
    """
    load_state_dict_mute(network, read_state_dict(RunFolder(dirname).weights_file(epoch_label)))
    return network


def load_state_dict_mute(
    network: nn.Module, state_dict: dict[str, torch.Tensor], strict: bool = True
) -> None:
    """Load the tensors that fit a network by name and shape, and skip the others silently.

    strict: ignored, as in the published function.
    """
    load_matching(network, state_dict)
