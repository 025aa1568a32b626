"""Re-association after a gap, the metric in Roboflow's `reid` (ReassociationProtocol, 0.1.0rc1).

It measures what a tracker needs: whether a person is found again N frames later.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from person_reid.arrays import Integers
from person_reid.data.file_names import frames_of, names_in
from person_reid.errors import UserError
from person_reid.retrieval.metrics import RECIPROCAL_RANK, Metrics, count_ahead, summarize, unusual
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import DISTANCES, distance_words, on_cpu

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

log = logging.getLogger(__name__)


def evaluate_reassociation(
    query: FeatureSet,
    gallery: FeatureSet,
    gap: int,
    query_stride: int = 1,
    distance: str = "cosine",
    device: "torch.device | None" = None,
) -> Metrics:
    """Return the Metrics of finding every person again among the people `gap` frames later.

    A person's image in frame t of a video is a query if frame t + gap of that video shows that
    person and at least one other person. Exactly the images of that frame are ranked for the query.

        MRR = mean over queries of 1 / rank of the person's first image, which counts from 1

    query, gallery: their images are pooled without duplicates; the paths must contain video and
    frame (see data/file_names.py). Distractors are candidates and never queries; junk is skipped.
    query_stride: queries come from frames whose numbers are multiples of it; reid's default is 60.
    distance, device: see DISTANCES.

    Raises UserError for names without a frame, or if there is no query.
    """
    images = _once(query, gallery)
    ranks = []
    owners = []
    identities = []
    asked = 0
    number = 0
    for people, then in _frames_apart(images, gap, query_stride):
        asked += len(people)
        same = images.labels[people][:, None] == images.labels[then]
        kept = same.any(axis=1) & ~same.all(axis=1)
        if not kept.any():
            continue
        rows, columns = same[kept].nonzero()
        features = images.features[people[kept]], images.features[then]
        scores = DISTANCES[distance](*features, device)(0, kept.sum())
        ranks.append(count_ahead(on_cpu(scores), rows, columns))
        owners.append(number + rows)
        identities.append(images.labels[people[kept]])
        number += kept.sum()
    if not ranks:
        raise UserError(
            f"gap={gap}: none of {asked:,} images of people has the person, among others, "
            f"{gap} frames later in its video. Try another gap or query_stride: frames of "
            "prepare.py --dataset mot are --frame_stride apart."
        )
    log.info("%s of %s images of people are queries.", f"{number:,}", f"{asked:,}")
    later = f"{gap} frames later, as Roboflow's reid measures it"
    words = unusual({distance_words(distance): distance != "cosine", later: True})
    ranking = np.concatenate(ranks), np.concatenate(owners), np.concatenate(identities)
    found = summarize(*ranking, len(images), "step", words)
    return replace(found, average_precision=1 / (found.first_match + 1), ap=RECIPROCAL_RANK)


def _frames_apart(
    images: FeatureSet, gap: int, query_stride: int
) -> Iterator[tuple[Integers, Integers]]:
    """Yield the images in each frame with queries, and the images `gap` frames later.

    Both are indices of images, without junk.
    """
    videos, frames = frames_of(names_in(images.paths), images.labels)
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, place in enumerate(zip(videos, frames.tolist(), strict=True)):
        if images.labels[index] != -1:
            groups[place].append(index)
    for (video, frame), now in groups.items():
        people = [index for index in now if images.labels[index] > 0]
        if people and frame % query_stride == 0:
            yield np.array(people), np.array(groups.get((video, frame + gap), []), np.int64)


def _once(query: FeatureSet, gallery: FeatureSet) -> FeatureSet:
    """Return the images of both sets, one for each file name."""
    paths = [*names_in(query.paths), *names_in(gallery.paths)]
    features, labels, cameras = (
        np.concatenate([getattr(query, name), getattr(gallery, name)])
        for name in ("features", "labels", "cameras")
    )
    first = {PurePath(path).name: index for index, path in reversed(list(enumerate(paths)))}
    return FeatureSet(features, labels, cameras, paths).select(sorted(first.values()))
