"""Histograms of scores, for thresholds: against loops over people and tracks."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import score_histograms
from person_reid.gallery.identification import person_scores
from person_reid.gallery.score_histograms import (
    person_similarities,
    threshold_among,
    track_similarities,
)
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import unit_rows
from person_reid.retrieval.thresholds import histogram

RANDOM = np.random.default_rng(0)


def images(count):
    """Images of six people, distractors and junk by three cameras, in two sequences each."""
    labels, cameras = RANDOM.integers(-1, 7, count), RANDOM.integers(1, 4, count)
    sequences = RANDOM.integers(1, 3, count)
    paths = [
        f"{who:04d}_c{camera}s{sequence}_{i:06d}_00.jpg"
        for i, (who, camera, sequence) in enumerate(zip(labels, cameras, sequences, strict=True))
    ]
    features = RANDOM.standard_normal((count, 8)) + 2 * np.eye(8)[labels % 8]
    return FeatureSet(3 * features, labels, cameras, paths)


QUERY, GALLERY = images(20), images(60)


def assert_histograms(found, rows):
    """rows: a list of (genuine scores, impostor scores) for each query or track."""
    for kind, scores in {
        "genuine": [each for genuine, _ in rows for each in genuine],
        "impostor": [each for _, impostor in rows for each in impostor],
        "hardest_genuine": [min(genuine) for genuine, _ in rows if genuine],
        "hardest_impostor": [max(impostor) for _, impostor in rows if impostor],
    }.items():
        counts = getattr(found, kind)
        assert counts.sum() == len(scores)
        # rounding may move a score into the next bin
        moved = np.abs(np.cumsum(counts) - np.cumsum(histogram(np.array(scores, np.float32))))
        assert moved.max(initial=0) <= 2, kind


@pytest.mark.parametrize("ignore_cameras", [False, True])
def test_people_equal_a_loop_over_them(ignore_cameras):
    units, known = unit_rows(QUERY.features), unit_rows(GALLERY.features)
    rows = []
    for i in np.flatnonzero(QUERY.labels > 0):
        seen = (GALLERY.labels > 0) & (ignore_cameras | (GALLERY.cameras != QUERY.cameras[i]))
        names, scores = person_scores(
            [units[i : i + 1]], [(GALLERY.labels[seen].astype(str).tolist(), known[seen])]
        )
        both = dict(zip(map(int, names), scores[0].tolist(), strict=True))
        own = [both.pop(QUERY.labels[i])] if QUERY.labels[i] in both else []
        rows.append((own, [*both.values()]))
    assert_histograms(person_similarities(QUERY, GALLERY, ignore_cameras), rows)


@pytest.mark.parametrize("ignore_cameras", [False, True])
def test_tracks_equal_a_loop_over_them(ignore_cameras):
    tracks: dict[tuple, list] = {}
    for each in (QUERY, GALLERY):
        for path, who, camera, feature in zip(
            each.paths, each.labels, each.cameras, unit_rows(each.features), strict=True
        ):
            if who > 0:
                tracks.setdefault((who, camera, path[:9]), []).append(feature)
    means = unit_rows(np.array([np.mean(each, axis=0) for each in tracks.values()], np.float32))
    cameras = np.array([camera for _, camera, _ in tracks])
    means = level_cameras(means, cameras)
    rows, every = [], [*zip(tracks, means, strict=True)]
    for one, mean in every:
        genuine: list[float] = []
        impostor: list[float] = []
        for other, its in every:
            if other != one and (ignore_cameras or other[1] != one[1]):
                (genuine if other[0] == one[0] else impostor).append(float(mean @ its))
        rows.append((genuine, impostor))
    found = track_similarities(QUERY, GALLERY, ignore_cameras)
    hardest = [(own[:1] and [min(own)], rest[:1] and [max(rest)]) for own, rest in rows]
    assert (int(found.hardest_genuine.sum()), int(found.hardest_impostor.sum())) == (
        sum(bool(own) for own, _ in hardest),
        sum(bool(rest) for _, rest in hardest),
    )
    found.genuine *= 2  # a pair counts once
    found.impostor *= 2
    assert_histograms(found, rows)


def test_one_camera_and_names_without_tracks_are_refused():
    one = FeatureSet(np.eye(4), [1, 1, 2, 2], [1] * 4, ["a.jpg"] * 4)
    with pytest.raises(UserError, match="no genuine score of a query and a person"):
        person_similarities(one, one)
    with pytest.raises(UserError, match="no tracklet or sequence"):
        track_similarities(one, one)


@pytest.mark.parametrize("chunk", [7, 2000])
def test_the_people_of_an_index_tell_a_threshold_between_their_scores(monkeypatch, chunk):
    monkeypatch.setattr(score_histograms, "IMAGES_AT_ONCE", chunk)
    names = [f"p{i // 3}" for i in range(36)]
    centres = 2 * np.eye(12, 32, dtype=np.float32).repeat(3, axis=0)
    features = unit_rows(centres + 0.5 * RANDOM.standard_normal((36, 32)).astype(np.float32))
    genuine: list[float] = []
    impostor: list[float] = []
    for i, name in enumerate(names):
        rest = [j for j in range(36) if j != i]
        found, scores = person_scores(
            [features[i : i + 1]], [([names[j] for j in rest], features[rest])]
        )
        for other, score in zip(found, scores[0].tolist(), strict=True):
            (genuine if other == name else impostor).append(score)
    threshold = threshold_among(features, names)
    assert threshold is not None
    accepted = [np.mean(np.array(each) >= threshold) for each in (genuine, impostor)]
    assert abs(1 - accepted[0] - accepted[1]) < 0.03
    assert threshold_among(features[:30], names[:30]) is not None  # of ten people
    assert threshold_among(features[:28], names[:28]) is None  # nine, and one with a single image
