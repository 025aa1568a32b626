"""Re-association after a gap, against a loop written from the definition of Roboflow's reid."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.reassociation import evaluate_reassociation
from person_reid.retrieval.results import FeatureSet

VIDEOS = ("MOT17-02", "MOT17-04")


def crops(random, twice=False):
    """Tracks of two videos as prepare.py --dataset mot names them: (features, labels, names).

    Every frame shows some of the people, and some frames show one or nobody. With `twice`, a person
    may have two boxes in a frame, and there are distractors and junk.
    """
    rows = []
    for video, first in zip(VIDEOS, (1, 6), strict=True):
        for frame in range(1, 40):
            for who in range(first, first + 5):
                if random.random() < 0.3 + 0.3 * (frame % 7 > 0):
                    rows += [(video, frame, who)] * (1 + (twice and random.random() < 0.2))
            if twice and random.random() < 0.5:
                rows += [(video, frame, 0), (video, frame, -1)]
    means = random.standard_normal((11, 6))
    features = [means[who] + 0.9 * random.standard_normal(6) for _, _, who in rows]
    names = [
        f"{who}_c{index}_{video}_{frame:06d}_{index}.jpg"
        for index, (video, frame, who) in enumerate(rows)
    ]
    return np.array(features, np.float32), np.array([who for *_, who in rows]), names, rows


def loop(features, rows, gap, stride):
    """(Rank@1, mean reciprocal rank, queries).

    Every identity in the frame `gap` later is a candidate; a query needs its own among at least
    two.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    reciprocal = []
    for query, (video, frame, who) in enumerate(rows):
        if frame % stride or who < 1:
            continue
        then = [
            i
            for i, row in enumerate(rows)
            if row[0] == video and row[1] == frame + gap and row[2] != -1
        ]
        if not any(rows[i][2] == who for i in then) or all(rows[i][2] == who for i in then):
            continue
        order = sorted(then, key=lambda i: -float(unit[query] @ unit[i]))
        place = next(place for place, i in enumerate(order) if rows[i][2] == who)
        reciprocal.append(1 / (place + 1))
    return np.mean(np.array(reciprocal) == 1), np.mean(reciprocal), len(reciprocal)


@pytest.mark.parametrize(("gap", "stride"), [(1, 1), (7, 1), (5, 3)])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_figures_are_those_of_the_definition(gap, stride, twice, distance):
    features, labels, names, rows = crops(np.random.default_rng(gap), twice)
    if distance == "euclidean":
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    cameras = np.arange(len(labels))
    images = FeatureSet(features, labels, cameras, names)
    query = images.select(np.arange(0, len(labels), 3))  # also in the gallery, as in the layout
    found = evaluate_reassociation(query, images, gap, stride, distance)
    first, mean, count = loop(features, rows, gap, stride)
    assert len(found.first_match) == count > 10
    assert (found.rank(1), found.mAP) == pytest.approx((first, mean), abs=1e-7)
    assert 0.2 < found.rank(1) < 0.95


def test_the_line_names_the_mean_reciprocal_rank():
    features, labels, names, _ = crops(np.random.default_rng(0))
    images = FeatureSet(features, labels, labels, names)
    found = evaluate_reassociation(images, images, 1)
    assert isinstance(found, Metrics)
    assert f" MRR:{found.mAP:.6f} " in found.line()
    assert found.figures()["MRR"] == found.mAP
    assert "mAP" not in found.figures()
    assert found.mAP == pytest.approx(np.mean(1 / (found.first_match + 1)))


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        # The person alone, another video, another gap: no query.
        (["1_c1s1_000001_1.jpg", "1_c1s1_000026_1.jpg"], [1, 1], "none of 2 images of people has"),
        (["1_c1s1_000001_1.jpg", "1_c2s1_000026_1.jpg", "2_c2s1_000026_1.jpg"], [1, 1, 2],
         "none of 3 images"),
        (["1_c1s1_000001_1.jpg", "1_c1s1_000051_1.jpg", "2_c1s1_000051_1.jpg"], [1, 1, 2],
         "none of 3 images"),
        (["0002_c1t3_0002C1T0001F001.jpg"], [2], "1 of 1 names of images do not say a frame"),
        (None, [2], "the result has no names of images"),
    ],
)  # fmt: skip
def test_what_has_no_query_is_told(names, labels, words):
    images = FeatureSet(np.eye(3)[: len(labels)], labels, labels, names)
    with pytest.raises(UserError, match=words):
        evaluate_reassociation(images, images, 25)


def test_market_1501_has_videos_of_a_camera_and_a_sequence():
    names = ["0001_c1s1_000001_1.jpg", "0001_c1s1_000026_1.jpg", "0000_c1s1_000026_2.jpg",
             "-1_c1s1_000026_3.jpg", "0002_c1s2_000026_1.jpg"]  # fmt: skip
    features = np.array([[1, 0], [1, 1], [1, 0.5], [1, 0], [1, 0]])
    images = FeatureSet(features, [1, 1, 0, -1, 2], [1] * 5, names)
    found = evaluate_reassociation(images.select([0]), images.select([1, 2, 3, 4]), 25)
    # The distractor is nearer; junk and another sequence are not among the candidates.
    assert found.first_match.tolist() == [1]
    assert found.mAP == 0.5
