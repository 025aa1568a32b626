# PYTHON_ARGCOMPLETE_OK
"""Build networks from Python, and list or describe them from the shell.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages

from model import build_model
network = build_model("resnet50", num_classes=751)
features, logits = network(images)       # training: (B, 512), (B, 751)
features = network.embed(images)         # test: (B, 512)

The published classes take their published arguments: `from model import ft_net, PCB, PCB_test`.
"""

import importlib
from typing import Any

from person_reid.cli.main import run_script
from person_reid.cli.model import main

HANDED_ON = (
    "PCB", "USAM", "ClassBlock", "PCB_test", "activate_drop", "build_model", "ft_net",
    "ft_net_NAS", "ft_net_convnext", "ft_net_dense", "ft_net_dino", "ft_net_efficient",
    "ft_net_hr", "ft_net_middle", "ft_net_swin", "ft_net_swinv2", "load_weights",
    "parameter_count", "weights_init_classifier", "weights_init_kaiming",
)  # fmt: skip
__all__ = HANDED_ON


def __getattr__(name: str) -> Any:
    """Import a network or a function when it is asked for: the
    list of networks needs no PyTorch.
    """
    if name not in HANDED_ON:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("person_reid.models.published"), name)


if __name__ == "__main__":
    run_script(main)
