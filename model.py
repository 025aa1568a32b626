# PYTHON_ARGCOMPLETE_OK
"""The networks, for Python and for the shell.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages

from model import build_model
network = build_model("resnet50", num_classes=751)
features, logits = network(images)       # training: (B, 512), (B, 751)
features = network.embed(images)         # test: (B, 512)
"""

from person_reid.cli.main import run_script
from person_reid.cli.model import main
from person_reid.models.factory import build_model, load_weights, parameter_count

__all__ = ["build_model", "load_weights", "parameter_count"]

if __name__ == "__main__":
    run_script(main)
