"""An exported network run by ONNX Runtime alone, for a service on a machine without PyTorch."""

from pathlib import Path

import numpy as np
from PIL import Image

from person_reid.arrays import flaw
from person_reid.data.images.image_files import Pixels, fit_image, probe_image
from person_reid.deploy.exported_files import CONTENTS_KEY, Contents, import_runtime, onnx_session
from person_reid.device import available_cores
from person_reid.errors import UserError, first_line
from person_reid.retrieval.similarity import Features
from person_reid.text import as_command

BATCH = 32  # images at a time


class OnnxEmbedder:
    """The part of an Embedder that the service needs, with ONNX Runtime and without PyTorch.

    path: an ONNX file that tools/export.py --normalise_input wrote, so that it takes pixels.
    flip: add the mirrored image's output, unless the file does so itself.

    The features equal those of Embedder(path) up to rounding.
    Raises UserError for any other file, or if onnxruntime is not installed.
    """

    resize = "bicubic"

    def __init__(self, path: str | Path, flip: bool = True) -> None:
        self.source = Path(path)
        self.flip = flip
        import_runtime("onnxruntime")
        try:
            self._session = onnx_session(self.source, available_cores())
            described = self._session.get_modelmeta().custom_metadata_map
            self.contents = Contents.from_json(described[CONTENTS_KEY])
        except UserError:
            raise
        except Exception as error:  # the library raises errors of many kinds
            raise UserError(
                f"{path}: not an ONNX file that {as_command('tools/export.py')} wrote, or damaged "
                f"({first_line(error)})."
            ) from error
        if not self.contents.normalised:
            raise UserError(
                f"{path}: takes images that PyTorch has to normalise. Export it with "
                f"{as_command('tools/export.py')} --normalise_input"
            )
        self.size = (self.contents.height, self.contents.width)
        self.dim = self.contents.dim

    def features(self, bank: Pixels, description: str = "") -> Features:
        """Return the unit-length features, float32 (N, D), of images, uint8 (N, *size, 3).

        Raises UserError if a feature contains NaN or infinity, or is all zero.
        """
        batches = np.split(bank, range(BATCH, len(bank), BATCH))
        found = np.concatenate([self._features_of(batch) for batch in batches])
        if problem := flaw(found):
            raise UserError(f"{self.source}: {problem}. Export the network again.")
        return found

    def probe(self) -> Features:
        """Return the feature (D,) of a synthetic image, as Embedder.probe does."""
        return self.features(fit_image(Image.fromarray(probe_image()), *self.size)[None])[0]

    def _features_of(self, pixels: Pixels) -> Features:
        """Return the features of one batch; all pieces of a feature have the same norm."""
        contents = self.contents
        mirrored = self.flip and not contents.flip and not contents.l2
        views = [pixels, pixels[:, :, ::-1]] if mirrored else [pixels]
        outputs = [self._session.run(None, {"images": np.ascontiguousarray(v)})[0] for v in views]
        total = np.stack(outputs).sum(axis=0)
        parts = total.reshape(len(total), -1, contents.pieces)
        lengths = np.linalg.norm(parts, axis=1, keepdims=True) * contents.pieces**0.5
        return np.asarray((parts / np.maximum(lengths, 1e-12)).reshape(total.shape), np.float32)
