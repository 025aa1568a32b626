"""Matrices that users hand over, and what is remarked about a ranking."""

import json

import numpy as np
import pytest
import torch

import evaluate as evaluate_script
import person_reid as reid
from benchmarks.support.references import loop_evaluate
from person_reid.errors import UserError
from person_reid.retrieval.protocols import by_cameras
from person_reid.retrieval.similarity import CosineScores


@pytest.fixture
def sets():
    random = np.random.default_rng(5)
    people = random.standard_normal((9, 8))

    def drawn(count, cameras):
        labels = random.integers(0, 9, count)
        features = people[labels] + random.standard_normal((count, 8))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return reid.FeatureSet(features, labels, random.integers(1, cameras, count))

    return drawn(30, 3), drawn(70, 4)


def ranked(sets, **how):
    query, gallery = sets
    return reid.evaluate(query, gallery, **how)


def same(one, other):
    return np.array_equal(one.average_precision, other.average_precision) and (
        one.first_match.tolist() == other.first_match.tolist()
    )


def test_a_matrix_ranks_as_the_features_do(sets):
    cosines = sets[0].features @ sets[1].features.T
    expected = ranked(sets)
    kept = cosines.copy()
    for scores in (cosines, cosines.tolist(), torch.from_numpy(cosines), cosines.astype(float)):
        assert same(ranked(sets, scores=scores), expected)
    assert same(ranked(sets, distances=1 - cosines.astype(float)), expected)
    np.testing.assert_array_equal(cosines, kept)


def test_whole_numbers_without_a_sign_are_distances(sets):
    cosines = sets[0].features @ sets[1].features.T
    steps = np.rint(100 * (1 - cosines)).astype(np.uint8)
    query, gallery = sets
    expected = loop_evaluate(query, gallery, -steps.astype(float))[0]
    assert ranked(sets, distances=steps).average_precision == pytest.approx(expected)


def test_a_matrix_of_another_shape_is_refused(sets):
    for name in ("scores", "distances"):
        with pytest.raises(UserError, match=rf"^{name}: .*\(30, 70\), found shape \(70, 30\)"):
            ranked(sets, **{name: np.zeros((70, 30))})
    with pytest.raises(UserError, match="expected one of them"):
        ranked(sets, scores=np.zeros((30, 70)), distances=np.zeros((30, 70)))


def test_distances_in_the_place_of_scores_are_remarked(sets, caplog):
    cosines = sets[0].features @ sets[1].features.T
    ranked(sets, scores=cosines)
    assert not caplog.text
    ranked(sets, scores=1 - cosines)
    assert "Are these distances?" in caplog.text
    caplog.clear()
    ranked(sets, scores=CosineScores(-sets[0].features, sets[1].features))  # of a weak network
    assert not caplog.text


def test_a_network_that_gives_one_feature_is_remarked(sets, caplog):
    query, gallery = (
        reid.FeatureSet(np.ones((len(each), 4)), each.labels, each.cameras) for each in sets
    )
    reid.evaluate(query, gallery)
    assert "100 % of the other images score the same" in caplog.text


@pytest.mark.parametrize(("tied", "remarked"), [(8, False), (15, True)])
def test_a_few_images_may_score_the_same_as_the_nearest_match(tied, remarked, caplog):
    query, gallery = (
        reid.FeatureSet(np.ones((count, 4)), [1, *[2] * (count - 1)], [1, *[2] * (count - 1)])
        for count in (1, 101)
    )
    scores = np.zeros((1, 101))
    scores[0, : 1 + tied] = 1
    reid.evaluate(query, gallery, scores=scores, ignore_cameras=True)
    assert (f"{tied} % of the other images score the same" in caplog.text) == remarked


def test_a_result_is_printed_in_a_line(sets):
    metrics = ranked(sets, ap="step", ignore_cameras=True)
    assert str(metrics).startswith("Metrics(30 queries, 70 gallery images, Rank@1:")
    assert str(metrics).endswith("(cameras ignored))")
    assert "mAP(step):" in str(metrics)
    assert str(sets[0]) == "FeatureSet(30×8 features of 9 identities in 2 cameras)"


@pytest.mark.parametrize("ignore_cameras", [False, True])
def test_pairs_of_cameras_equal_galleries_of_one_camera(sets, ignore_cameras):
    query, gallery = sets
    scores = query.features @ gallery.features.T
    found = by_cameras(query, gallery, "step", lambda i, j: scores[i:j], ignore_cameras)
    assert ("1-1" in found) == ignore_cameras
    assert len(found) == (6 if ignore_cameras else 4)
    for pair, metrics in found.items():
        here, there = map(int, pair.split("-"))
        asked = query.select(np.flatnonzero(query.cameras == here))
        among = gallery.select(np.flatnonzero(gallery.cameras == there))
        alone = reid.evaluate(asked, among, "step", ignore_cameras=ignore_cameras).of_matched()
        assert same(metrics, alone)
        assert metrics.rank(1) == alone.rank(1)


def test_the_script_takes_a_matrix_and_says_the_protocol(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reid.save_result("pytorch_result.mat", *sets)
    cosines = sets[0].features @ sets[1].features.T
    np.save("distances.npy", 1 - cosines)
    flags = ["--scores", "distances.npy", "--lower_is_nearer", "--ap", "step", "--ignore_cameras"]
    evaluate_script.main([*flags, "--ranks", "1,20", "--json", "f.json", "--by", "identities"])
    expected = ranked(sets, ap="step", distances=1 - cosines, ignore_cameras=True)
    out = capsys.readouterr().out
    protocol = "scores of distances.npy, cameras ignored"
    line = f"Rank@1:{expected.rank(1):.6f} Rank@20:{expected.rank(20):.6f} mAP(step):"
    assert out.startswith(f"{line}{expected.mAP:.6f} ")
    assert f"({protocol})" in out
    figures = json.loads((tmp_path / "f.json").read_text())
    single = figures["single"]
    assert (single["ap"], single["protocol"], len(single)) == ("step", protocol, 6)
    people = figures["by identity"]
    assert len(people) == 9
    assert np.mean([people[str(label)]["mAP"] for label in sets[0].labels]) == pytest.approx(
        expected.mAP
    )
    evaluate_script.main(["--ignore_cameras", "--csv", "--by", "cameras"])
    assert "single (cameras ignored)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "m.npy: no such file"),
        (b"\x93NUMPY", "m.npy: damaged, or not a matrix"),
        (np.zeros((2, 2)), r"m.npy: scores: expected a row for each query"),
        (np.zeros((30, 70), complex), r"m.npy: scores: .* found complex"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(content, words, sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reid.save_result("pytorch_result.mat", *sets)
    if isinstance(content, bytes):
        (tmp_path / "m.npy").write_bytes(content)
    elif content is not None:
        np.save("m.npy", content)
    with pytest.raises(UserError, match=words):
        evaluate_script.main(["--scores", "m.npy"])
