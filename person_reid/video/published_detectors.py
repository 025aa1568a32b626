"""Published detectors trained on COCO: YOLOX and detectors of torchvision."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np

from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError, first_line
from person_reid.files import checksum_of
from person_reid.video.detector_files import DetectorFile

if TYPE_CHECKING:
    import torch

YOLOX_RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
# {name: SHA-256 of its file in the release}, as public projects that download the file give it.
YOLOX_DETECTORS = {
    "yolox_nano": "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    "yolox_tiny": "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    "yolox_s": "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
}
# {name: torchvision's name}
TORCHVISION_DETECTORS = {
    "ssdlite": "ssdlite320_mobilenet_v3_large",
    "fasterrcnn": "fasterrcnn_resnet50_fpn_v2",
}
COCO_PERSON = 1  # torchvision counts COCO's classes from 1
log = logging.getLogger(__name__)


def open_yolox(name: str, device: torch.device) -> DetectorFile:
    """Return a detector of YOLOX_DETECTORS; its file is downloaded at first use.

    Raises a UserError that names the file and its place if it cannot be downloaded, or if a
    different file has its name.
    Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430.
    """
    import torch

    url, expected = f"{YOLOX_RELEASE}/{name}.onnx", YOLOX_DETECTORS[name]
    file = Path(torch.hub.get_dir(), "checkpoints", f"{name}.onnx")
    if not file.exists():
        log.info("%s: downloading %s into %s", name, url, file.parent)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), expected, progress=False)
        except Exception as error:  # no internet, a full disk, a damaged file: different exceptions
            raise _not_to_be_had(name, file, url, error) from error
    if (found := checksum_of(file)) != expected:
        raise UserError(
            f"{file}: not the file of {url}: its SHA-256 begins with {found[:8]}, expected "
            f"{expected[:8]}. Delete it to download the right one, or use it: detector={file}"
        )
    return DetectorFile(file, device, "yolox")


class TorchvisionDetector:
    """A detector of torchvision; its weights are downloaded at first use.

    name: a key of TORCHVISION_DETECTORS. Raises a UserError that names the file and its place if it
    cannot be downloaded.

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
    """Return the tensors of a weights file, from torch.hub's folder or the internet."""
    import torch

    file = Path(urlparse(weights.url).path).name
    folder = Path(torch.hub.get_dir(), "checkpoints")
    if not (folder / file).exists():
        log.info("%s: downloading %s into %s", name, weights.url, folder)
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no internet, a full disk, a damaged file: different exceptions
        raise _not_to_be_had(name, folder / file, weights.url, error) from error


def _not_to_be_had(name: str, file: Path, url: str, error: Exception) -> UserError:
    """Return the error to raise for a detector whose file cannot be downloaded."""
    return UserError(
        f"detector={name}: its weights cannot be downloaded ({first_line(error)}). Put {file.name} "
        f"from {url} into {file.parent}, or name the file of another detector."
    )
