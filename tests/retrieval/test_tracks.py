"""One feature for each track, against a loop."""

import numpy as np
import pytest

from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.track_features import merge_tracklets, track_features


@pytest.mark.parametrize("weighted", [False, True])
def test_a_track_has_the_mean_of_its_images(weighted):
    random = np.random.default_rng(0)
    features = random.standard_normal((12, 5)).astype(np.float32)
    tracks = [("b", 2), ("a", 1), ("b", 2), ("a", 2)] * 3
    weights = random.random(12) if weighted else None
    names, found = track_features(features, tracks, weights)
    assert names == [("b", 2), ("a", 1), ("a", 2)]
    for name, feature in zip(names, found, strict=True):
        total = sum(
            features[i] / np.linalg.norm(features[i]) * (1 if weights is None else weights[i])
            for i in range(12)
            if tracks[i] == name
        )
        assert feature == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_a_tracklet_keeps_identity_camera_and_path_of_its_first_frame():
    random = np.random.default_rng(0)
    tracklets = ["b", "a", "b", "c"]
    paths = [f"{i}.jpg" for i in range(4)]
    frames = FeatureSet(random.standard_normal((4, 5)), [7, 3, 7, -1], [2, 1, 2, 4], paths)
    merged = merge_tracklets(frames, tracklets)
    assert merged.labels.tolist() == [7, 3, -1]
    assert merged.cameras.tolist() == [2, 1, 4]
    assert merged.paths == ["0.jpg", "1.jpg", "3.jpg"]
    assert merged.features == pytest.approx(track_features(frames.features, tracklets)[1])
