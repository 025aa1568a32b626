"""The detectors of torchvision, which were trained on COCO."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np

from person_reid.config.option import OptionError
from person_reid.data.video.frames import Frame
from person_reid.errors import first_line

if TYPE_CHECKING:
    import torch

# {name: torchvision's name}
TORCHVISION_DETECTORS = {
    "ssdlite": "ssdlite320_mobilenet_v3_large",
    "fasterrcnn": "fasterrcnn_resnet50_fpn_v2",
}
COCO_PERSON = 1  # torchvision counts COCO's classes from 1
log = logging.getLogger(__name__)


class TorchvisionDetector:
    """A detector of torchvision, whose weights are downloaded at first use.

    name: of TORCHVISION_DETECTORS. Raises UserError, with file and place, without internet.

    Howard et al., Searching for MobileNetV3, ICCV 2019; Ren et al., Faster R-CNN, NeurIPS 2015; Li
    et al., Benchmarking Detection Transfer Learning with Vision Transformers, 2021.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from torchvision.models import get_model, get_model_weights

        known: Any = get_model_weights(TORCHVISION_DETECTORS[name])
        state = _downloaded(name, known.DEFAULT)
        module = get_model(TORCHVISION_DETECTORS[name], weights=None, weights_backbone=None)
        module.load_state_dict(state)
        self.module = module.eval().to(device)
        self.device = device

    def __call__(self, frame: Frame, /) -> tuple[Any, Any]:
        """Return the boxes (N, 4) and scores (N,) of the people in a frame (H, W, 3)."""
        import torch

        with torch.inference_mode():
            picture = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device)
            (found,) = self.module([picture.permute(2, 0, 1).float() / 255])
            people = found["labels"] == COCO_PERSON
            return found["boxes"][people], found["scores"][people]


def _downloaded(name: str, weights: Any) -> Any:
    """Return the tensors of a file of weights, from torch.hub's folder or from the internet."""
    import torch

    file = Path(urlparse(weights.url).path).name
    folder = Path(torch.hub.get_dir(), "checkpoints")
    if not (folder / file).exists():
        log.info("%s: downloading %s into %s", name, weights.url, folder)
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no internet, a full disk, a damaged file: each in its own way
        raise OptionError(
            f"{{detector}}: its weights cannot be had ({first_line(error)}). Put {file} from "
            f"{weights.url} into {folder}, or name the file of another detector.",
            detector=name,
        ) from error
