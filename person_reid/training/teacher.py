"""Learn from the --teacher, a better network.

Its features of the training images are computed once.

The teacher sees each image as it is and mirrored. The student must give the augmented image the
same neighbours.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from person_reid.data.images.bank import fingerprint, load_bank, open_array
from person_reid.data.layout import Split
from person_reid.deploy.embedder import Embedder
from person_reid.distributed import World
from person_reid.errors import describe_error
from person_reid.files import atomic_write
from person_reid.retrieval.similarity import Features
from person_reid.training.step import TrainingStep
from person_reid.training.training_images import Batch

log = logging.getLogger(__name__)


class DistillationTerm:
    """Add the loss between student and teacher (`Criterion.taught`).

    taught: the teacher's features (N, E) of the training images. targets: their classes (N,).
    device: where the training runs. world: the processes that train together; each computes the
        loss of the whole batch.
    """

    def __init__(
        self, taught: Features, targets: torch.Tensor, device: torch.device, world: World
    ) -> None:
        self.taught = F.normalize(torch.from_numpy(taught)).to(device)
        means = torch.zeros(int(targets.max()) + 1, taught.shape[1], device=device)
        self.means = F.normalize(means.index_add_(0, targets.to(device), self.taught))
        self.gather = world.gather

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return a scalar.

        Each part of a part network, and each of its classifiers, has the same teacher.
        """
        taught = self.gather(self.taught[batch.indices])
        with torch.autocast(taught.device.type, enabled=False):
            cosines = taught @ self.means.T
        features, logits = self.gather(features), self.gather(logits)
        return step.criterion.taught.compare(features, logits, taught, cosines)


def teacher_features(teacher: Embedder, splits: Sequence[tuple[Path, Split]]) -> Features:
    """Return a teacher's features (N, E) of the images of some splits.

    They are computed now, or were in an earlier call.

    splits: (folder, images) of each. The features are kept beside the decoded images, under a name
    that depends on the images and on what the teacher says of a synthetic one.
    """
    probe = teacher.probe().tobytes()
    found = []
    for folder, split in splits:
        cache, name = folder.parent / ".cache", folder.name
        known = hashlib.sha256(probe + fingerprint(split.paths).encode()).hexdigest()[:16]
        file = cache / f"teacher_{name}_{known}.npy"
        features = open_array(file, (len(split), teacher.dim), np.float32)
        if features is None:
            features = teacher.features(
                load_bank(split.paths, *teacher.size, cache, name), f"teacher of {name}"
            )
            _write(features, file)
        found.append(features)
    return np.concatenate(found)


def _write(features: Features, file: Path) -> None:
    try:
        with atomic_write(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, features)
    except OSError as error:
        log.warning(
            "%s: no cache; the next run computes the teacher's features again.",
            describe_error(error),
        )
