"""People made of numbers, and noise for their photographs."""

import numpy as np
from PIL import Image

from person_reid.retrieval.results import FeatureSet, save_result


def random_sets(seed=0, queries=12, images=150):
    """Query and gallery of 5 identities, distractors and junk in 3 cameras.

    The features are coarse, so that many tie.
    """
    rng = np.random.default_rng(seed)
    sets = []
    for number, lowest in ((queries, 1), (images, -1)):
        features = rng.integers(-1, 2, (number, 3)).astype(np.float32)
        features[~features.any(1)] = 1
        sets.append(
            FeatureSet(features, rng.integers(lowest, 6, number), rng.integers(1, 4, number))
        )
    return sets


def lay_out(folder):
    """A result file, and its images laid out below folder/pytorch.

    Returns (result file, query, gallery).
    """
    sets = random_sets(images=30)
    rng = np.random.default_rng(1)
    for images, split in zip(sets, ("query", "gallery"), strict=True):
        order = np.argsort(
            [f"{label:04d}" if label >= 0 else "-1" for label in images.labels], kind="stable"
        )
        for name in ("features", "labels", "cameras"):
            setattr(images, name, getattr(images, name)[order])
        images.paths = []
        for i, (label, camera) in enumerate(zip(images.labels, images.cameras, strict=True)):
            identity = f"{label:04d}" if label >= 0 else "-1"
            path = folder / "pytorch" / split / identity / f"{identity}_c{camera}s1_{i:06d}_00.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(60, 200, (128, 64, 3), np.uint8)).save(path)
            images.paths.append(path.as_posix())
        cameras = {path: int(path.rsplit("_c", 1)[1][0]) for path in images.paths}
        images.paths = sorted(images.paths)
        images.cameras = np.array([cameras[path] for path in images.paths])
    save_result(folder / "result.mat", *sets)
    return folder / "result.mat", *sets
