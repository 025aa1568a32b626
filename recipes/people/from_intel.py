# PYTHON_ARGCOMPLETE_OK
"""Make the network in this package: convert one of Intel's Open Model Zoo.

    python recipes/people/from_intel.py person-reidentification-retail-0277.xml \\
      --images ../Market/pytorch/train_all --output intel_0277

The .bin file must be beside the .xml. The folder --output is like one from
tools/save_pretrained.py, in half precision. Its features are those of the file. In Intel's file the
batch norms are folded into the convolutions; they are restored with the statistics of photographs,
so that training can continue from these weights.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor, nn

from person_reid.config.zoo import PACKAGED, PACKAGED_NETWORK
from person_reid.console import run_script
from person_reid.console.parser import Parser
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.data.images.image_files import is_image
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.load import network_of_weights
from person_reid.deploy.pretrained import CARD
from person_reid.deploy.publish import accuracy, check_output, save_pretrained
from person_reid.files import write_text
from person_reid.models.factory import create_model
from person_reid.models.osnet import CHANNELS
from person_reid.models.published.families import osnet_lct
from person_reid.models.weight_files import read_state_dict
from person_reid.run_folder import save_tensors

APACHE = PACKAGED / PACKAGED_NETWORK / "LICENSE"
PHOTOGRAPHS = 256  # whose statistics the norms get
TRAINED_ON = {"MSMT17": "research only", "Market-1501": "research only"}
ZOO = "https://github.com/openvinotoolkit/open_model_zoo"
LICENCE = """
## Source and licence

The weights are those of Intel's {source} ([Open Model Zoo]({zoo})).
Copyright 2020 Intel Corporation, Apache License 2.0: see LICENSE and NOTICE beside this file.

`recipes/people/from_intel.py` converted them from OpenVINO's format. The features are the same.
In Intel's file the batch norms are folded into the convolutions. Here they are layers again, with
the statistics of {count} photographs, so that training can continue.
"""
NOTICE = """\
{source}
Copyright 2020 Intel Corporation
{zoo}

Licensed under the Apache License, Version 2.0; LICENSE is a copy of it.

Changes: converted from OpenVINO's format to safetensors; batch normalization layers restored.
"""


def main(argv: list[str] | None = None) -> None:
    """Convert the file, and write the folder."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("file", type=Path, help="person-reidentification-retail-0277.xml, or another of them")
    add("--images", required=True, metavar="DIR", help="folder with photographs of people")
    add("--test_dirs", nargs="+", default=[], metavar="DIR", help="layouts to measure accuracy on")
    add("--threshold", type=float, help="least cosine of two images of one person")
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    options = parser.parse_args(argv)
    check_output(options.output)

    width = len(read_state_dict(options.file)["conv1.conv.weight"]) / CHANNELS[0]
    backbone = osnet_lct(width).name
    network = create_model(backbone, weights=options.file).eval()
    restore_norms(network, photographs(options.images))
    with TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pth")
        save_tensors(network.model.state_dict(), weights)
        tested = network_of_weights(backbone, weights)
        accuracies = [accuracy(Embedder(tested), test_dir) for test_dir in options.test_dirs]
        save_pretrained(
            tested, options.output, accuracies, TRAINED_ON, options.threshold, half=True
        )
    about = {"source": options.file.stem, "zoo": ZOO, "count": PHOTOGRAPHS}
    card = options.output / CARD
    write_text(card, card.read_text(encoding="utf-8") + LICENCE.format(**about))
    write_text(options.output / "NOTICE", NOTICE.format(**about))
    write_text(options.output / "LICENSE", APACHE.read_text(encoding="utf-8"))


def photographs(folder: str) -> Tensor:
    """Return PHOTOGRAPHS images of a folder, evenly spaced, as the network takes them."""
    paths = sorted(path for path in Path(folder).rglob("*") if is_image(path.name))
    rows = np.unique(np.linspace(0, len(paths) - 1, PHOTOGRAPHS).round().astype(int))
    return normalise(load_bank([paths[row] for row in rows], 256, 128))


@torch.inference_mode()
def restore_norms(network: nn.Module, images: Tensor) -> None:
    """Give each batch norm the statistics of its input for images (N, 3, H, W).

    Its weight and bias change so that the network computes the same.
    """

    def restore(norm: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)  # (C, N) or (C, N·H·W)
        variance, mean = torch.var_mean(x, 1, correction=0)
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias += factor * (mean - norm.running_mean)
        norm.weight.copy_(factor * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    hooks = [norm.register_forward_hook(restore) for norm in norms]
    network(images)
    for hook in hooks:
        hook.remove()


if __name__ == "__main__":
    run_script(main)
