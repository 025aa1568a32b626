"""The single-gallery-shot protocol of the original CUHK03: a gallery of one random image for each identity.

Li, Zhao, Xiao, Wang, DeepReID: Deep Filter Pairing Neural Network for Person Re-identification, CVPR 2014.
"""

import numpy as np

from person_reid.retrieval.metrics import Metrics, evaluate, find_pairs


def evaluate_single_shot(query, gallery, ap="trapezoidal", ignore_cameras=False, trials=10, seed=0):
    """Metrics over `trials` random galleries; the per-query arrays hold one trial after the other, by camera.

    query, gallery: FeatureSets. In a trial the queries of one camera see one image of every identity, drawn from the
    other cameras (from all, with ignore_cameras). Junk (label -1) is never drawn; distractors count as one identity.
    Raises UserError as evaluate does.
    """
    find_pairs(query, gallery, ignore_cameras)  # for its refusals
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(trials):
        for camera in [None] if ignore_cameras else np.unique(query.cameras):
            asked = np.flatnonzero((query.cameras == camera) | ignore_cameras)
            allowed = random.permutation(np.flatnonzero((gallery.labels != -1) & (gallery.cameras != camera)))
            drawn = allowed[np.unique(gallery.labels[allowed], return_index=True)[1]]  # the first of each identity
            parts.append(evaluate(query.select(asked), gallery.select(drawn), ap, ignore_cameras=True))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Metrics.PER_QUERY}
    return Metrics(**joined, gallery_size=max(part.gallery_size for part in parts), ap=ap)
