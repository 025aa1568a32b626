"""Label errors of made people are found, and their probabilities add up to their number."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval import label_errors as module
from person_reid.retrieval.belief import SUREST
from person_reid.retrieval.label_errors import label_errors
from person_reid.retrieval.similarity import unit_rows


def people(seed=0, identities=60, images=16, cameras=4, noise=0.45):
    """Features (N, 32) of different people, labels that are names, and cameras.

    Each camera shifts all of its images.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), images)
    seen_by = np.tile(np.arange(cameras), identities * images // cameras)
    features = rng.normal(size=(identities, 32))[labels] + noise * rng.normal(
        size=(len(labels), 32)
    )
    features += 0.5 * rng.normal(size=(cameras, 32))[seen_by]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), 10 * labels + 7, seen_by


def flipped(labels, seed=0, share=0.05):
    """The labels, with a share of them replaced by others at random; and which."""
    rng = np.random.default_rng(seed)
    wrong, names = labels.copy(), np.unique(labels)
    which = rng.choice(len(labels), int(share * len(labels)), replace=False)
    for i in which:
        wrong[i] = rng.choice(names[names != labels[i]])
    return wrong, np.isin(np.arange(len(labels)), which)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_are_found_and_proposed_as_they_were(seed):
    features, labels, cameras = people(seed)
    wrong, bad = flipped(labels, seed)
    found = label_errors(features, wrong, cameras)
    listed = found.probability >= 0.3
    assert (listed & bad).sum() >= 0.95 * bad.sum()
    assert (listed & bad).sum() >= 0.8 * listed.sum()
    assert (found.identity[bad] == labels[bad]).mean() > 0.95
    assert set(found.proposal[bad]) == {"move"}
    assert bad[found.order[: bad.sum()]].mean() > 0.95
    assert bad.sum() * 0.7 < found.probability.sum() < bad.sum() * 1.5


def test_right_labels_are_left_alone_and_the_same_seed_finds_the_same():
    features, labels, cameras = people()
    found, again = (label_errors(features, labels, cameras) for _ in range(2))
    assert (found.probability >= 0.3).mean() < 0.01
    assert (np.diff(found.probability[found.order]) <= 0).all()
    np.testing.assert_array_equal(found.probability, again.probability)


@pytest.mark.parametrize(("noise", "warned"), [(0.45, False), (1.6, True)])
def test_features_that_find_too_few_people_are_remarked(caplog, noise, warned):
    features, labels, cameras = people(noise=noise)
    label_errors(features, flipped(labels)[0], cameras)
    assert ("many wrong labels will not be listed" in caplog.text) == warned


@pytest.mark.parametrize(("noise", "share"), [(0.45, 0.2), (0.9, 0.05), (1.2, 0.2)])
def test_a_stated_probability_is_the_share_that_is_right_however_weak_the_network(noise, share):
    each_said, each_right = [], []
    for seed in range(4):
        features, labels, cameras = people(seed, noise=noise)
        wrong, bad = flipped(labels, seed, share)
        found = label_errors(features, wrong, cameras)
        listed = found.probability >= 0.3
        each_said.append(found.probability[listed])
        each_right.append((bad & (found.identity == labels))[listed])
    said, right = np.concatenate(each_said), np.concatenate(each_right)
    assert said.max() < 0.995  # which would be written 1.00
    for low in (0.3, 0.7):
        inside = (said >= low) & (said < low + 0.4)
        if inside.sum() >= 20:
            assert abs(said[inside].mean() - right[inside].mean()) < 0.12, (low, inside.sum())


@pytest.mark.parametrize("noise", [2.5, 4])
def test_a_network_that_finds_few_of_these_people_proposes_nothing(noise):
    features, labels, cameras = people(noise=noise)
    with pytest.raises(
        UserError, match=r"about [1-4]?[0-9] % of these images.* nor whose label is wrong"
    ):
        label_errors(features, flipped(labels)[0], cameras)


@pytest.mark.parametrize("seed", range(6))
def test_features_that_contradict_most_right_labels_propose_nothing(seed):
    """The features of one person differ between cameras, and have few dimensions."""
    random = np.random.default_rng(seed)
    labels, cameras = np.repeat(np.arange(1, 13), 8), np.tile(np.repeat(np.arange(1, 5), 2), 12)
    features = 1.5 * random.normal(size=(12, 4, 5))[labels - 1, cameras - 1]
    features += 0.3 * random.normal(size=(12, 1, 5))[labels - 1, 0]
    features += 0.6 * random.normal(size=(96, 5)) + 0.5 * random.normal(size=(4, 5))[cameras - 1]
    moved = unit_rows((features + 3 * random.normal(size=(1, 5))).astype(np.float32))
    with pytest.raises(UserError, match="cannot tell these people apart"):
        label_errors(moved, labels, cameras)


def test_evidence_is_that_of_a_slow_loop():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    whose = np.array([0, 1, 2, -1, 0, 1, 1, 0, 0, -1, 1, 0])
    cameras = np.array([3, 1, 1, 3, 1, 1, 3, 3, 1, 1, 1, 3])
    found = module._evidence(features, whose, cameras)[:2]
    for i in range(12):
        for person in range(3):
            for across, evidence in enumerate(found):
                near = [
                    np.exp((features[i] @ features[j] - 1) / module.TEMPERATURE)
                    for j in range(12)
                    if whose[j] == person and j != i and not (across and cameras[j] == cameras[i])
                ]
                expected = np.log(sum(near) / np.sqrt(len(near))) if near else -np.inf
                assert evidence[i, person] == pytest.approx(expected, abs=1e-4)


def test_two_halves_of_a_person_are_to_be_merged():
    features, labels, cameras = people()
    halves = np.where((labels == 57) & (cameras < 2), 5000, labels)
    halves[(labels == 57) & (cameras == 2)] = 57
    found = label_errors(features, halves, cameras)
    listed = found.probability >= 0.3
    assert set(found.proposal[listed]) == {"merge"}
    assert set(halves[listed]) == {5000}
    assert listed.sum() == 8
    assert set(found.identity[listed]) == {57}


def test_what_a_camera_saw_of_somebody_else_is_to_be_split():
    features, labels, cameras = people()
    stranger = (labels == 17) & (cameras == 3)
    wrong = np.where(stranger, 27, labels)
    keep = (labels != 27) | (cameras != 3)
    found = label_errors(features[keep], wrong[keep], cameras[keep], highest=5000)
    listed = found.probability >= 0.5
    assert (listed == stranger[keep]).all()
    assert set(found.proposal[listed]) <= {"split", "move"}
    new = set(found.identity[listed & (found.proposal == "split")])
    assert len(new) <= 1
    assert not new & set(labels)
    assert found.identity[found.proposal == "split"].min() == 5001


def test_distractors_who_are_somebody_and_people_who_are_nobody_are_found():
    features, labels, cameras = people()
    rng = np.random.default_rng(5)
    strangers = rng.normal(size=(200, 32)).astype(np.float32)
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    all_features = np.concatenate([features, strangers])
    seen_by = np.concatenate([cameras, rng.integers(0, 4, 200)])
    hidden = np.concatenate(
        [np.where(np.arange(len(labels)) % 97 == 5, 0, labels), np.zeros(200, np.int64)]
    )
    found = label_errors(all_features, hidden, seen_by)
    listed = (found.probability >= 0.5) & (hidden == 0)
    somebody = np.arange(len(hidden)) % 97 == 5
    somebody[len(labels) :] = False
    assert (listed == somebody).mean() > 0.99
    assert set(found.proposal[listed]) == {"somebody"}
    assert found.probability.max() <= np.float32(SUREST)
    assert (found.identity[somebody] == labels[somebody[: len(labels)]]).all()
    assert np.isneginf(found.doubt[hidden == 0]).all()  # they have no label to doubt
    odd = features.copy()
    odd[3] = -odd[labels == 7].mean(axis=0) / np.linalg.norm(odd[labels == 7].mean(axis=0))
    assert label_errors(odd, labels, cameras).order[0] == 3


def test_who_has_one_image_or_one_camera_is_not_contradicted():
    features, labels, cameras = people()
    alone = np.isin(labels, (7, 17)) & (np.arange(len(labels)) % 16 > 0)
    found = label_errors(features[~alone], labels[~alone], cameras[~alone])
    assert not found.probability[:2].any()
    label_errors(features, labels, np.ones_like(cameras))
    label_errors(features, labels, np.arange(len(cameras)))


def test_without_a_second_image_of_anybody_nothing_is_said():
    features, labels, cameras = people()
    with pytest.raises(UserError, match="everybody has one image"):
        label_errors(features[::16], labels[::16], cameras[::16])


def test_two_people_are_enough():
    features, labels, cameras = people(identities=2)
    wrong = labels.copy()
    wrong[0] = labels[-1]
    found = label_errors(features, wrong, cameras)
    assert found.order[0] == 0
    assert found.identity[0] == labels[0]


def test_what_cannot_be_judged_is_refused():
    features, labels, cameras = people(identities=12)
    with pytest.raises(UserError, match="1 identity: .* at least two are needed"):
        label_errors(features, np.ones(len(labels), np.int64), cameras)
    with pytest.raises(UserError, match="junk"):
        label_errors(features, labels - 8, cameras)
    same = np.ones_like(features) / np.sqrt(32)
    for useless in (same, np.random.default_rng(1).permutation(features)):
        with pytest.raises(UserError, match="cannot tell these people apart"):
            label_errors(useless, labels, cameras)
