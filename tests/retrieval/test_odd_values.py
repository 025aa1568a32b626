"""Features in other forms give the same, and those that would be silently wrong are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

import person_reid as reid
from person_reid.errors import UserError

N, WIDTH = 6, 8
LABELS, CAMERAS = np.arange(N) % 3, np.arange(N) // 3
drawn = np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)
GOOD = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def changed(value):
    features = GOOD.copy()
    features[2, 3] = value
    return features


ODD = {
    "texts": np.array([["a"] * WIDTH] * N),
    "objects": GOOD.astype(object),
    "masked": np.ma.masked_less(GOOD, 0),
    "complex": GOOD.astype(complex),
    "NaN": changed(np.nan),
    "infinite": changed(np.inf),
}
FORMS = {
    "a list": GOOD.tolist(),
    "a list of arrays": list(GOOD),
    "double": GOOD.astype(np.float64),
    "Fortran's order": np.asfortranarray(GOOD),
    "a tensor": torch.from_numpy(GOOD),
    "a tensor with a gradient": torch.from_numpy(GOOD).requires_grad_(),
    "a list of tensors": list(torch.from_numpy(GOOD)),
}


def a_set(features=GOOD, labels=LABELS, cameras=CAMERAS):
    return reid.FeatureSet(features, labels, cameras)


def gallery():
    return a_set(GOOD[::-1].copy(), LABELS[::-1].copy(), CAMERAS + 5)


def index():
    found = reid.SearchIndex("odd.index")
    if not len(found):
        for number in range(N):
            Path(f"{number}.jpg").write_bytes(b"an image")
        found.add([f"{number}.jpg" for number in range(N)], GOOD)
        names = ["Anna", "Ben", "Cleo"] * 2
        found.describe({f"{i}.jpg": reid.About(identity=name) for i, name in enumerate(names)})
    return found


def rescored(method, query, among=GOOD):
    options = reid.RerankOptions(method=method, k1=3, k2=None if method == "aqe" else 2)
    return reid.rescorer(options)(query, among)(0, N)


def saved(query):
    reid.save_result("odd.mat", query, gallery())
    return reid.load_result("odd.mat")[0]


def linked(value, name):
    arguments = {"features": GOOD, "cameras": CAMERAS, "starts": np.arange(N), "ends": np.arange(N)}
    return reid.link_tracks(**arguments | {name: value}, threshold=0.5).labels


OF_FEATURES = {
    "FeatureSet": lambda v: a_set(v).features,
    "evaluate": lambda v: reid.evaluate(a_set(v), gallery()).average_precision,
    "save_result": lambda v: saved(a_set(v)).features,
    "k-reciprocal": lambda v: rescored("k-reciprocal", v),
    "k-reciprocal, gallery": lambda v: rescored("k-reciprocal", GOOD, v),
    "gnn": lambda v: rescored("gnn", v),
    "aqe": lambda v: rescored("aqe", v),
    "CameraNorm": lambda v: reid.CameraNorm(v, CAMERAS)(GOOD, CAMERAS),
    "CameraNorm, applied": lambda v: reid.CameraNorm(GOOD, CAMERAS)(v, CAMERAS),
    "Whitening": lambda v: reid.Whitening(v).of(gallery()).features,
    "SearchIndex.search": lambda v: [
        [match.similarity for match in row] for row in index().search(v, k=2)
    ],
    "identify": lambda v: [each.score for each in reid.identify(index(), v, 0.9)],
    "link_tracks": lambda v: linked(v, "features"),
}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_the_same_features_in_any_form_give_the_same(name):
    expected = OF_FEATURES[name](GOOD)
    for title, form in FORMS.items():
        np.testing.assert_allclose(OF_FEATURES[name](form), expected, err_msg=title)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_bfloat16_gives_what_the_rounded_features_give(name):
    rounded = torch.from_numpy(GOOD).bfloat16()
    np.testing.assert_allclose(OF_FEATURES[name](rounded), OF_FEATURES[name](rounded.float()))


@pytest.mark.parametrize("title", ["masked", "complex", "objects", "texts"])
@pytest.mark.parametrize("name", OF_FEATURES)
def test_what_means_nothing_is_refused_under_its_name(name, title):
    with pytest.raises(UserError, match=r"(features|query|queries|gallery|people): expected "):
        OF_FEATURES[name](ODD[title])


@pytest.mark.parametrize("title", ["NaN", "infinite"])
@pytest.mark.parametrize("name", [name for name in OF_FEATURES if name != "FeatureSet"])
def test_features_that_are_not_finite_are_refused(name, title):
    with pytest.raises(UserError, match="NaN or infinite"):
        OF_FEATURES[name](ODD[title])


@pytest.mark.parametrize("value", [1.5, float("nan"), "5", True, None])
def test_a_rank_is_a_whole_number(value):
    with pytest.raises(UserError, match="^k: expected a whole number"):
        reid.evaluate(a_set(), gallery()).rank(value)


@pytest.mark.parametrize("name", reid.list_losses())
def test_labels_of_another_shape_are_refused_by_every_loss(name):
    if name.startswith("teacher"):
        pytest.skip("a teacher's features stand in place of the labels")
    try:
        criterion = reid.create_loss(name)
    except UserError:  # it has weights of its own
        criterion = reid.create_loss(name, num_classes=3, dim=WIDTH)
    if criterion.needs_teacher:
        pytest.skip("a teacher's features stand in place of the labels")
    features = torch.from_numpy(GOOD[:, :3] if criterion.takes == "logits" else GOOD)
    with pytest.raises(ValueError, match=r"found \(6, \d\) and \(6, 1\)"):
        criterion(features, torch.from_numpy(LABELS)[:, None])
