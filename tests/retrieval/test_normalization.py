"""Features fitted to the images of a test, without a label."""

import numpy as np
import pytest

from benchmarks.support.people import draw_people
from person_reid.errors import UserError
from person_reid.retrieval.normalization import CameraNorm, Whitening, level_cameras
from person_reid.retrieval.results import FEATURE_FLAGS, FeatureSet, load_result, read_note
from tests.support.flags import ON_THE_PROCESSOR
from tests.support.scripts import refused, run


@pytest.mark.parametrize("scale", [False, True])
def test_every_camera_is_moved_to_the_same_mean(scale):
    random = np.random.default_rng(1)
    cameras = np.arange(40) % 4
    cameras[0] = 9  # seen once
    features = (random.normal(2, 1, (40, 5)) + random.normal(size=(10, 5))[cameras]).astype(
        np.float32
    )
    norm = CameraNorm(features, cameras, scale)
    groups = {camera: features[cameras == camera] for camera in set(cameras.tolist())}
    within = sum(((each - each.mean(0)) ** 2).sum() for each in groups.values()) / (
        40 - len(groups)
    )
    apart = sum(
        len(each) * ((each.mean(0) - features.mean(0)) ** 2).sum() for each in groups.values()
    )
    between = (apart - (len(groups) - 1) * within) / (
        40 - sum(len(each) ** 2 for each in groups.values()) / 40
    )
    assert between > 0

    def moved(feature, camera):
        own = groups.get(camera, features)
        share = len(own) * between / (len(own) * between + within)
        mean, deviation = (
            share * of(own, 0) + (1 - share) * of(features, 0) for of in (np.mean, np.std)
        )
        away = (feature - mean) / (deviation if scale else 1)
        return away / np.linalg.norm(away)

    slow = [moved(feature, camera) for feature, camera in zip(features, cameras, strict=True)]
    np.testing.assert_allclose(norm(features, cameras), slow, atol=1e-5)
    np.testing.assert_allclose(norm(features[:1], [77])[0], moved(features[0], 77), atol=1e-5)


@pytest.mark.parametrize("images", [1, 2, 20])
def test_cameras_that_do_not_differ_are_not_told_apart(images):
    features = np.random.default_rng(3).normal(2, 1, (120, 64)).astype(np.float32)
    each, one = (
        CameraNorm(features, cameras) for cameras in (np.arange(120) // images, np.zeros(120))
    )
    found, expected = (norm(features, np.arange(120) // images) for norm in (each, one))
    assert np.einsum("nd,nd->n", found, expected).min() > 0.95


def test_a_feature_at_the_mean_of_its_camera_stays():
    same = np.eye(4, dtype=np.float32)[[1, 1, 1]]
    np.testing.assert_array_equal(CameraNorm(same, [0, 0, 0], scale=True)(same, [0, 0, 0]), same)


def test_whitening_decorrelates_and_evens_out_the_variances():
    random = np.random.default_rng(2)
    mixed = random.normal(size=(500, 6)) @ random.normal(size=(6, 6)) * [9, 3, 1, 1, 0.1, 0] + 5
    images = FeatureSet(mixed.astype(np.float32), np.arange(500), np.zeros(500))
    found = Whitening(images.features).of(images).features
    covariance = np.cov(mixed.T)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    expected = (mixed - mixed.mean(0)) @ vectors / (eigenvalues + np.trace(covariance) / 6) ** 0.25
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # The directions' signs do not matter.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_whitening_of_equal_features_stays_finite():
    images = FeatureSet(np.ones((4, 3), np.float32), np.arange(4), np.zeros(4))
    assert (Whitening(images.features).of(images).features == 0).all()
    with pytest.raises(UserError, match="whiten: a single image has no statistics"):
        Whitening(images.features[:1])
    assert np.isfinite(Whitening(images.features[:2]).of(images).features).all()


def test_the_flags_of_the_command_change_the_features(tmp_path):
    people = draw_people(tmp_path / "people", 3, tested=3)
    usual = [
        *ON_THE_PROCESSOR,
    ]
    lines: dict[str, list[str]] = {}
    for flags in (
        [],
        ["--adapt_bn"],
        ["--camera_norm"],
        ["--camera_norm", "standardise"],
        ["--whiten"],
    ):
        output = run(
            "test",
            *usual,
            *flags,
            "--test_dir",
            people,
            "--result",
            f"{len(lines)}.mat",
            cwd=tmp_path,
        )
        lines[" ".join(flags)] = [line for line in output.splitlines() if "mAP" in line]
    files = [tmp_path / f"{number}.mat" for number in range(5)]
    assert len({load_result(file)[0].digest() for file in files}) == 5
    assert all(lines.values())
    notes = ["plain", "--adapt_bn", "--camera_norm center", "--camera_norm standardise", "--whiten"]
    assert [read_note(file, FEATURE_FLAGS) for file in files] == notes
    run("threshold", "--result", files[2], cwd=tmp_path)  # of features that no single image has
    image = next((people / "query").rglob("*.jpg"))
    network = [flag for flag in usual if flag not in ("--gpu_ids", "-1")]
    assert "measured on features of 'python test.py --camera_norm center'" in refused(
        "compare", image, image, *network, cwd=tmp_path
    )
    for flag in ("--camera_norm", "--whiten"):
        assert flag[2:] in refused(
            "test", *usual, "--no_norm", flag, "--test_dir", people, cwd=tmp_path
        )
    assert "leave adapt_bn out" in refused(
        "test", "--engine", "a.onnx", "--adapt_bn", "--test_dir", people, cwd=tmp_path
    )


def test_the_mean_of_a_camera_counts_as_much_as_it_has_tracks():
    features = np.random.default_rng(0).normal(size=(33, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cameras = ["door"] * 20 + ["yard"] * 10 + [""] * 3
    expected = features.astype(np.float64)
    for first, last, share in [(0, 20, 20 / 30), (20, 30, 10 / 20)]:
        expected[first:last] -= share * (features[first:last].mean(0) - features[:30].mean(0))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(level_cameras(features, cameras), expected, atol=1e-6)
    np.testing.assert_allclose(level_cameras(features, [""] * 33), features, atol=1e-6)
