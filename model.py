# PYTHON_ARGCOMPLETE_OK
"""The networks, for Python and the shell.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages

from model import build_model
network = build_model("resnet50", num_classes=751)
features, logits = network(images)       # training: (B, 512), (B, 751)
features = network.embed(images)         # test: (B, 512)

The published class names take the published arguments: `from model import ft_net, PCB, PCB_test`.
"""

from person_reid.cli.main import run_script
from person_reid.cli.model import main
from person_reid.models.factory import create_model as build_model
from person_reid.models.factory import parameter_count
from person_reid.models.published import (
    PCB,
    ClassBlock,
    PCB_test,
    ft_net,
    ft_net_convnext,
    ft_net_dense,
    ft_net_dino,
    ft_net_efficient,
    ft_net_hr,
    ft_net_middle,
    ft_net_NAS,
    ft_net_swin,
    ft_net_swinv2,
)
from person_reid.models.weights import load_weights

__all__ = [
    "PCB", "ClassBlock", "PCB_test", "build_model", "ft_net", "ft_net_NAS", "ft_net_convnext", "ft_net_dense",
    "ft_net_dino", "ft_net_efficient", "ft_net_hr", "ft_net_middle", "ft_net_swin", "ft_net_swinv2", "load_weights",
    "parameter_count",
]  # fmt: skip

if __name__ == "__main__":
    run_script(main)
