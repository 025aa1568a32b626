import json

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import roc_curve

from person_reid.errors import UserError
from person_reid.retrieval.results import PLAIN
from person_reid.retrieval.thresholds import (
    BINS,
    accepts,
    error_rates,
    histogram,
    load_threshold,
    pair_similarities,
    roc,
)
from tests.retrieval.conftest import data_sets, image_set


def slow_pairs(query, gallery, ignore_cameras):
    """Lists of similarities by two loops: genuine, impostor, hardest genuine, hardest impostor."""
    genuine = []
    impostor = []
    hardest_genuine = []
    hardest_impostor = []
    for i in range(len(query)):
        own: list[np.float32] = []
        strangers: list[np.float32] = []
        for j in range(len(gallery)):
            if query.labels[i] == -1 or gallery.labels[j] == -1:
                continue
            if query.cameras[i] == gallery.cameras[j] and not ignore_cameras:
                continue
            similarity = np.float32(query.features[i] @ gallery.features[j])
            (own if query.labels[i] == gallery.labels[j] else strangers).append(similarity)
        genuine += own
        impostor += strangers
        hardest_genuine += [min(own)] if own else []
        hardest_impostor += [max(strangers)] if strangers else []
    return genuine, impostor, hardest_genuine, hardest_impostor


@given(data_sets(most=15))
def test_pairs_equal_two_loops(sets):
    query, gallery = sets
    ignore_cameras = bool(query.labels[0] % 2)
    expected = slow_pairs(query, gallery, ignore_cameras)
    if len(set(query.cameras) | set(gallery.cameras)) == 1 or not expected[0] or not expected[1]:
        with pytest.raises(UserError):
            pair_similarities(query, gallery)
            pair_similarities(query, gallery, ignore_cameras)
        return
    found = pair_similarities(query, gallery, ignore_cameras)
    kinds = (found.genuine, found.impostor, found.hardest_genuine, found.hardest_impostor)
    for counts, similarities in zip(kinds, expected, strict=True):
        assert counts.sum() == len(similarities)
        # The same values but for rounding, which may move one into the next bin.
        assert (
            np.abs(
                np.repeat(np.arange(BINS), counts) - np.sort(np.array(similarities) + 1) * BINS / 2
            ).max()
            < 2
        )


def test_extreme_cosines_stay_in_the_histogram():
    counts = histogram(np.array([-1.0000001, -1, 0, 1, 1.0000001, -np.inf], np.float32))
    assert counts[[0, BINS // 2, BINS - 1]].tolist() == [2, 1, 2]
    assert counts.sum() == 5


def test_curve_is_scikit_learns():
    random = np.random.default_rng(0)
    genuine = random.normal(0.5, 0.2, 300).clip(-1, 1)
    impostor = random.normal(0.1, 0.2, 4000).clip(-1, 1)
    curve = roc(histogram(genuine), histogram(impostor))
    truth = np.repeat([1, 0], [300, 4000])
    false_positives, true_positives, _ = roc_curve(truth, np.concatenate([genuine, impostor]))
    for rate in (1e-3, 1e-2, 0.5):
        expected = true_positives[false_positives <= rate].max()
        assert curve.at_fpr(rate)[1] == pytest.approx(expected, abs=0.005)
        assert np.mean(impostor >= curve.at_fpr(rate)[2]) <= rate
    error, threshold = curve.equal_error()
    assert error == pytest.approx(np.mean(impostor >= threshold), abs=0.005)
    assert error == pytest.approx(np.mean(genuine < threshold), abs=0.005)
    assert error == pytest.approx(0.1587, abs=0.02)  # a normal distribution beyond one deviation


def test_separate_distributions_have_no_error():
    curve = roc(histogram(np.full(10, 0.9)), histogram(np.full(10, 0.1)))
    error, threshold = curve.equal_error()
    assert error == 0
    assert 0.1 < threshold <= 0.9
    assert curve.at_fpr(1e-4)[:2] == (0.0, 1.0)


def test_summary_is_plain_json(published):
    query, gallery, _, _ = published
    summary = json.loads(json.dumps(error_rates(pair_similarities(query, gallery))))
    assert summary["hardest_per_query"]["impostor"] == 60
    rules = summary["all_pairs"]["rules"]
    assert rules["eer"]["threshold"] < rules["1e-3"]["threshold"] < rules["1e-4"]["threshold"]


def test_no_pairs_of_a_kind_are_refused():
    query = image_set(np.eye(2), [1, 2], [1, 1])
    with pytest.raises(UserError, match="no genuine pair"):
        pair_similarities(query, image_set(np.eye(2), [3, 4], [2, 2]))
    with pytest.raises(UserError, match="no impostor pair"):
        pair_similarities(query.select([0]), image_set(np.eye(2), [1, 1], [2, 2]))


def test_a_threshold_of_another_network_is_remarked(tmp_path, caplog):
    path = tmp_path / "threshold.json"
    path.write_text('{"threshold": 0.5, "measured_on": "mine net_60"}')
    assert load_threshold(path) == load_threshold(path, "mine net_60") == 0.5
    assert not caplog.text
    assert load_threshold(path, "other net_60") == 0.5
    assert (
        "threshold.json was measured on 'mine net_60', and this is 'other net_60'." in caplog.text
    )


def test_a_threshold_of_features_extracted_otherwise_is_refused(tmp_path):
    path = tmp_path / "threshold.json"
    path.write_text(
        '{"threshold": 0.5, "measured_on": "mine net_60", "flags": "--camera_norm center"}'
    )
    assert load_threshold(path, "mine net_60", "--camera_norm center") == 0.5
    with pytest.raises(
        UserError, match=r"of 'python test\.py --camera_norm center', and these are"
    ):
        load_threshold(path, "mine net_60", PLAIN)
    assert load_threshold(path) == 0.5  # nobody knows how these were extracted
    path.write_text('{"threshold": 0.5, "measured_on": "mine net_60", "flags": "plain"}')
    with pytest.raises(UserError, match=r"like those of 'python test\.py --no_flip'"):
        load_threshold(path, "mine net_60", "--no_flip")


def test_a_threshold_of_a_folder_is_of_plain_features(tmp_path):
    (tmp_path / "config.json").write_text('{"threshold": 0.5, "network": {"backbone": "resnet50"}}')
    for place in (tmp_path, tmp_path / "config.json"):
        assert load_threshold(place, "mine net_60", PLAIN) == 0.5
        with pytest.raises(UserError, match="measured on features of"):
            load_threshold(place, "mine net_60", "--whiten")


def test_a_threshold_of_the_folder_of_another_network_is_remarked(tmp_path, caplog):
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "config.json").write_text('{"threshold": 0.5}')
    for network in ("", "first", f"{tmp_path.name}/first"):
        assert load_threshold(folder, network) == 0.5
    assert not caplog.text
    load_threshold(folder, "second")
    assert "was measured on 'first', and this is 'second'" in caplog.text


def test_a_threshold_is_a_number_or_a_file(tmp_path):
    path = tmp_path / "threshold.json"
    path.write_text('{"threshold": 0.5}')
    assert load_threshold("0.25") == 0.25
    assert load_threshold(path) == 0.5
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"no threshold in it"):
        load_threshold(path)
    with pytest.raises(UserError, match=r"neither a number nor a file; python tools/threshold\.py"):
        load_threshold(tmp_path / "none.json")


def test_rates_are_exact_for_what_is_accepted():
    random = np.random.default_rng(2)
    impostor = random.normal(0.3, 0.2, 5000).clip(-1, 1).astype(np.float32)
    curve = roc(histogram(impostor), histogram(impostor))
    for rate in (0.1, 1e-2, 1e-3):
        false_positives, _, threshold = curve.at_fpr(rate)
        share = np.mean([accepts(threshold, similarity) for similarity in impostor])
        assert share == pytest.approx(false_positives)
        assert share <= rate
        assert threshold == round(threshold, 4)


def test_a_similarity_below_a_threshold_is_not_rounded_above_it():
    assert not accepts(0.70004, 0.69996)
    assert accepts(0.7, 0.69996)
    assert accepts(0.70004, 0.70004)
    assert accepts(1.0, 0.9999999)


@pytest.mark.parametrize(
    ("measured", "compared", "advice"),
    [
        ({}, {"score": "person"}, "--for person$"),
        ({"for": "person"}, {"score": "track"}, "--for track$"),
        ({"for": "track"}, {"score": "track", "camera_norm": True}, "--for track --camera_norm$"),
        ({"for": "track", "camera_norm": True}, {}, "--for pair$"),
        ({"for": [1]}, {}, "--for pair$"),
    ],
)
def test_a_threshold_of_another_score_is_refused_with_the_command_that_measures_it(
    tmp_path, measured, compared, advice
):
    path = tmp_path / "threshold.json"
    path.write_text(json.dumps({"threshold": 0.5} | measured))
    with pytest.raises(UserError, match=rf"compared with .*tools/threshold\.py {advice}"):
        load_threshold(path, **compared)
    assert load_threshold("0.5", **compared) == 0.5  # somebody has typed it
    if measured.get("for") in ("person", "track"):
        own = {"score": measured["for"], "camera_norm": measured.get("camera_norm", False)}
        assert load_threshold(path, **own) == 0.5
