"""The single-gallery-shot protocol of the original CUHK03 and of PRCC.

The gallery holds one random image of each identity.

Li, Zhao, Xiao, Wang, DeepReID: Deep Filter Pairing Neural Network for Person Re-identification,
CVPR 2014; Yang, Wu, Zheng, Person Re-identification by Contour Sketch under Moderate Clothing
Change, TPAMI 2021.
"""

import logging

import numpy as np
import numpy.typing as npt

from person_reid.config.option import OptionError
from person_reid.retrieval.metrics import CAMERAS_IGNORED, Metrics, check_cameras, evaluate, unusual
from person_reid.retrieval.results import FeatureSet

log = logging.getLogger(__name__)


def evaluate_single_shot(
    query: FeatureSet,
    gallery: FeatureSet,
    ap: str = "trapezoidal",
    ignore_cameras: bool = False,
    trials: int = 10,
    seed: int = 0,
    clothes: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    same_clothes: bool = False,
) -> Metrics:
    """Return the Metrics over `trials` random galleries.

    In each trial, the queries of one camera see one image of every identity, drawn from the other
    cameras. Junk (label -1) is never drawn; all distractors together count as one identity. The
    per-query arrays of the result hold one trial after another, each ordered by camera.

    query, gallery: the images to search for and to search in.
    ap: the average precision, as in evaluate.
    ignore_cameras: draw from all cameras, for all queries at once.
    trials: the number of random galleries.
    seed: seeds the random draws.
    clothes: what query (Q,) and gallery (G,) wear. Only queries whose drawn match is in other
        clothes are then measured, or, with same_clothes, in the same.

    Raises UserError under the same conditions as evaluate, and if no image can be drawn.
    """
    persons = gallery.labels != -1
    if ignore_cameras:
        groups = [(np.arange(len(query)), np.flatnonzero(persons))]
    else:
        check_cameras(query, gallery)
        groups = [
            (
                np.flatnonzero(query.cameras == camera),
                np.flatnonzero(persons & (gallery.cameras != camera)),
            )
            for camera in np.unique(query.cameras)
        ]
    without = sum(len(asked) for asked, candidates in groups if not len(candidates))
    if without:
        short = f"for {without} of {len(query)} queries"
        raise OptionError(
            f"{{single_shot}}: {short} no gallery image can be drawn: "
            "all are junk (label -1) or from the query's own camera. "
            "Check the gallery, or draw from all cameras with {ignore_cameras}."
        )
    random = np.random.default_rng(seed)
    worn, worn_there = map(np.asarray, clothes or ((), ()))
    parts, measured = [], 0
    for _ in range(trials):
        for asked, candidates in groups:
            shuffled = random.permutation(candidates)
            # The first image of each identity is its draw.
            drawn = shuffled[np.unique(gallery.labels[shuffled], return_index=True)[1]]
            queries = asked
            if clothes:
                same = worn[asked, None] == worn_there[drawn]
                matches = query.labels[asked, None] == gallery.labels[drawn]
                queries = asked[(matches & (same == same_clothes)).any(axis=1)]
            if len(queries):
                measured += len(queries)
                found = evaluate(
                    query.select(queries), gallery.select(drawn), ap, ignore_cameras=True
                )
                parts.append(found)
    wanted = f" in {'the same' if same_clothes else 'other'} clothes"
    if not parts:
        raise OptionError(f"{{single_shot}}: no query has a match{wanted}.")
    if without := trials * len(query) - measured:
        log.warning(
            "%d of %d queries of all draws have no match%s, and are ignored.",
            without,
            trials * len(query),
            wanted,
        )
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Metrics.PER_QUERY
    }
    about = {CAMERAS_IGNORED: ignore_cameras, "single gallery shot": True}
    words = unusual({f"matches{wanted}": clothes, **about})
    size = max(part.gallery_size for part in parts)
    return Metrics(**joined, gallery_size=size, ap=ap, protocol=words)
