"""Turn images of people into features with one call, in a tracker, a notebook or a service.

from person_reid import Embedder
embed = Embedder()                              # the network in this package
embed = Embedder("ft_ResNet50")                 # the run model/ft_ResNet50
embed = Embedder("osnet_x0_25", weights="osnet_x0_25_msmt17.pth")  # a network and its weights
embed = Embedder("osnet_x1_0_msmt17")           # a network that others have published
embed = Embedder.from_pretrained("osnet_market")  # a folder from tools/save_pretrained.py
embed = Embedder("osnet.onnx", device="cpu")    # a file from tools/export.py
embed = Embedder("ft_ResNet50", device="cpu", runtime="auto")  # the fastest program on a CPU
embed = Embedder(network)                       # a network of create_model, trained by fit
features = embed(["a.jpg", pil_image, crop])    # (3, D); features @ features.T: similarities
features = embed(crops, bgr=True)               # in OpenCV's channel order
features = embed.crops(frame, boxes, bgr=True)  # the people in a frame, in a detector's boxes
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from person_reid.arrays import Integers, any_array, flaw
from person_reid.config.tested import CONFIG_FILE
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import Pixels, fit_image, load_image, probe_image
from person_reid.deploy.extraction import FeatureSettings, NetworkSource, open_source
from person_reid.deploy.interface import Preparation
from person_reid.deploy.pretrained import find_folder, local_folder, open_pretrained
from person_reid.device import usable_device
from person_reid.errors import UserError
from person_reid.progress import progress
from person_reid.retrieval.bound import Bound
from person_reid.retrieval.features import side_rows
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import load_bound, load_threshold

IMAGES_IN_MEMORY = 1024  # images of a list that are in memory at once
Cameras = Integers | Sequence[int]
ImageLike = str | Path | Image.Image | Pixels


class Embedder:
    """A network, ready to turn images into features.

    source: the name of a run (model/NAME), of a network (with weights), or of a published network
        in list_models(pretrained=True); an exported file; a NetworkToTest; or a network of
        create_model, which is copied. By default, the network in this package.
    weights: the weight file of a network, or "none".
    device: such as "cpu" or "cuda:1"; by default, the first GPU, or else the CPU.
    flip: add the mirrored image's output, as test.py does. False takes half the time and gives
        slightly worse features. By default, the network's authors decide.
    size: (height, width) of the network's input, if not its own.
    batch_size: images that the network processes at once.
    which_epoch: the checkpoint of the run.
    scales: factors by which the images are resized, such as (1.0, 1.05); the outputs are summed.
    dtype: torch.float16 or torch.bfloat16 for mixed precision in PyTorch or OpenVINO; None computes
        in float32.
    unit_length: divide each feature by its norm.
    runtime: what computes the features: torch (the default); on a CPU also onnxruntime, openvino,
        or auto, the fastest installed runtime that agrees with PyTorch. An ONNX file is run by
        onnxruntime (its default) or openvino.
    preparation: the preprocessing for an ONNX or OpenVINO file from another program; by default,
        that of ImageNet networks.
    output: which output of such a file is the feature, by name; by default, the one that looks like
        an embedding, which a warning names.

    An exported file determines size, scales and unit_length, and also dtype unless OpenVINO runs
    it. Raises UserError or FileNotFoundError if the run, file or device does not exist or does not
    fit.
    """

    # Two images that are at least this similar count as one person, see from_pretrained.
    threshold: float | None = None
    bound: Bound | None = None  # the bound of the threshold
    _first_process: ClassVar[int] = 0  # the process that first created a multi-threaded Embedder
    _forkable = True

    def __init__(
        self,
        source: NetworkSource = PACKAGED_NETWORK,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        flip: bool | None = None,
        size: tuple[int | None, int | None] = (None, None),
        batch_size: int = 32,
        which_epoch: str | int = "last",
        scales: Sequence[float] = (1.0,),
        dtype: torch.dtype | None = None,
        unit_length: bool = True,
        runtime: str | None = None,
        preparation: Preparation | None = None,
        output: str | None = None,
    ) -> None:
        device = usable_device(device)
        self._process = os.getpid()
        self._check_process()
        settings = FeatureSettings(
            device=device,
            flip=flip,
            dtype=dtype,
            scales=np.ravel(scales).tolist(),
            unit_length=unit_length,
            runtime=runtime,
            preparation=preparation,
            output=output,
        )
        opened = open_source(source, weights, which_epoch, size, settings)

        self.source, self.weights = source, weights
        if isinstance(source, str) and weights is None and (folder := local_folder(source)):
            self._know_threshold(folder)
        self.flip = flip is not False
        self.size = opened.size
        self.dim = opened.dim
        self.sides = opened.sides
        self.resize = opened.resize
        self.flips_inside = opened.flips_inside
        self._extract = partial(
            opened.extract, batch_size=batch_size, flip=opened.flip, unit=unit_length
        )
        self._forkable = device.type == "cpu" and (
            not opened.engine or torch.get_num_threads() == 1
        )

    def __call__(
        self,
        images: Iterable[ImageLike],
        bgr: bool = False,
        cameras: Cameras | None = None,
        description: str = "features",
    ) -> Features:
        """Return the unit-length features, float32 (N, D), of N images of any size.

        images: paths, PIL images and uint8 arrays (H, W, 3), in any mixture; no images give (0, D).
        bgr: the arrays have OpenCV's channel order.

        cameras: (N,) from 1, for a network with side information. description: the text of the
        progress bar; "" shows no bar.

        Raises UserError as `features` does, if an image is of another kind, or if files cannot be
        read; the message lists all of these.
        """
        single = isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) == 3
        if single or not np.iterable(images):
            raise UserError("Embedder: expected a list of images; for a single one, pass [image].")
        sources = [*images]
        if not sources:
            return np.empty((0, self.dim), np.float32)
        self._check_process()

        def load(image: ImageLike) -> Pixels:
            if isinstance(image, str | Path):
                return load_image(image, *self.size, self.resize)
            if isinstance(image, np.ndarray):
                if image.dtype != np.uint8:
                    raise UserError(f"an array of {image.dtype}, not of uint8")
                image = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1] if bgr else image))
            if not (image.width and image.height):
                raise UserError(f"an image of {image.width}×{image.height} pixels")
            return fit_image(image, *self.size, self.resize)

        decoded = decode(sources, load)
        images = iter(progress(decoded, total=len(sources), desc=description, unit=" images"))
        features: list[Features] = []
        rows = side_rows(cameras, self.sides)
        while chunk := list(islice(images, IMAGES_IN_MEMORY)):
            known: dict[str, Any] = {}
            if rows is not None:
                known = {"sides": rows[IMAGES_IN_MEMORY * len(features) :][: len(chunk)]}
            features.append(
                self._extract(torch.from_numpy(np.stack(chunk)), description="", **known)
            )
        return _checked(np.concatenate(features))

    def crops(self, frame: Any, boxes: Any, bgr: bool = False) -> Features:
        """Return the features, float32 (N, D), of the people in the boxes that a detector found.

        frame: uint8 (H, W, 3), an array or a tensor. bgr: it has OpenCV's channel order.
        boxes: (N, 4), an array, a tensor or a list: left, top, right, bottom in pixels. They are
        rounded and clipped to the frame. A box without any area in the frame, or with a NaN, gives
        a row of zeros, which matches no one.

        Several threads may call it at once. Raises UserError for any other frame or boxes.
        """
        image, edges = any_array(frame, "Embedder: frame"), any_array(boxes, "Embedder: boxes")
        height, width = image.shape[:2]
        edges = (edges.reshape(-1, 4) if edges.size == 0 else edges).astype(np.float64)
        _remark_on(edges, (height, width))
        edges = np.round(edges).clip(0, (width, height, width, height))
        found = np.zeros((len(edges), self.dim), np.float32)
        # A box with a NaN fails both comparisons.
        some = np.flatnonzero((edges[:, 0] < edges[:, 2]) & (edges[:, 1] < edges[:, 3]))
        found[some] = self(
            [image[top:bottom, left:right] for left, top, right, bottom in edges[some].astype(int)],
            bgr,
        )
        return found

    @classmethod
    def from_pretrained(cls, source: str | Path, **settings: Any) -> "Embedder":
        """Open a save_pretrained folder: local, in this package, or on the Hugging Face hub.

        settings: device, flip, size and so on; see the class. `threshold` and `bound` come from the
        folder, if it has them. Raises UserError if the folder does not exist or is damaged.
        """
        folder = find_folder(source)
        embedder = cls(open_pretrained(folder), **settings)
        embedder.source = folder
        embedder._know_threshold(folder)
        return embedder

    def _know_threshold(self, folder: Path) -> None:
        """Read the threshold and its bound from a save_pretrained folder, if it has them."""
        with suppress(UserError):
            self.threshold = load_threshold(folder / CONFIG_FILE)
        self.bound = load_bound(folder / CONFIG_FILE)

    def probe(self) -> Features:
        """Return the feature (D,) of probe_image()."""
        return self([probe_image()])[0]

    def features(
        self,
        bank: torch.Tensor | Pixels,
        description: str = "features",
        cameras: Cameras | None = None,
    ) -> Features:
        """Return the features, float32 (N, D), of an image bank, uint8 (N, *size, 3).

        load_bank creates such a bank; an array also works. cameras: (N,) from 1, for a network with
        side information. The features have unit length unless `unit_length` is False.
        Raises UserError if a feature contains NaN or infinity, or is all zero, because nothing can
        be compared with it. All scripts get their features here.
        """
        self._check_process()
        rows = side_rows(cameras, self.sides)
        known: dict[str, Any] = {} if rows is None else {"sides": rows}
        return _checked(self._extract(torch.as_tensor(bank), description=description, **known))

    def _check_process(self) -> None:
        """Raise UserError in a forked process, which would wait forever for threads it lacks.

        PyTorch's threads belong to the parent process, so even a new Embedder would wait for them.
        """
        here, several = os.getpid(), torch.get_num_threads() > 1
        if several:
            Embedder._first_process = Embedder._first_process or here
        forked = here != self._process and not self._forkable
        if forked or (several and here != Embedder._first_process):
            raise UserError(
                "Embedder: one was made before this process was forked off, so threads are "
                "missing. Start processes by spawn (gunicorn: without --preload), or compute on a "
                "CPU with OMP_NUM_THREADS=1."
            )


def _checked(features: Features) -> Features:
    """Return the features. Raises UserError if one contains NaN or infinity, or is all zero."""
    if found := flaw(features):
        advice = (
            "Either the weights are NaN, because the training diverged: use other weights. Or "
            "half precision overflowed: compute in float32."
            if "NaN" in found
            else "The network makes them so: use other weights."
        )
        raise UserError(f"Embedder: {found}. {advice}")
    return features


def _remark_on(edges: npt.NDArray[Any], size: tuple[int, int]) -> None:
    """Warn about boxes (N, 4) that do not look like left, top, right, bottom in pixels."""
    # Detectors pad their lists with zeros.
    edges = edges[np.isfinite(edges).all(axis=1) & edges.any(axis=1)]
    sides = edges[:, 2:] - edges[:, :2]
    if not len(edges):
        return
    problems = {
        "all are within 0 to 1. Multiply them "
        f"by the frame's width {size[1]} and height {size[0]}": np.abs(edges).max() <= 1,
        # Near the corner of the frame, even wrong boxes may be in the right order.
        "most run backwards, as left, top, width, height do. Add left to the width and top to "
        "the height": (sides < 0).any(axis=1).mean() > 0.5,
        "all are smaller than two pixels": sides.max() < 2,
    }
    if found := [problem for problem, applies in problems.items() if applies]:
        warnings.warn(
            f"Embedder: boxes: expected left, top, right, bottom in pixels; {found[0]}.",
            stacklevel=3,
        )
