"""Tracks get people while they run, as a slow loop and linking all at once say."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval.association import HANDOVER, link_tracks
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.online import OnlineLinks
from person_reid.retrieval.track_features import USUAL


def made_up(people, tracks, seed=0, noise=0.12):
    """Cameras, starts, ends, features and people of tracks."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((people, 32))
    who = random.integers(people, size=tracks)
    features = centres[who] / np.linalg.norm(centres[who], axis=1, keepdims=True)
    features = features + noise * random.standard_normal(features.shape)
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    starts = np.sort(random.uniform(0, 100, tracks))
    return [f"c{n}" for n in random.integers(3, size=tracks)], starts, starts + 4, features, who


def groups(labels):
    """Which tracks are together, whatever their people are called."""
    return {frozenset(np.flatnonzero(np.array(labels) == each)) for each in set(labels)}


def test_a_track_goes_to_the_person_with_the_highest_mean_cosine_that_it_can_be():
    cameras, starts, ends, features, _ = made_up(8, 60)
    links = OnlineLinks(threshold=0.5)
    said: list[int] = []
    for i, camera in enumerate(cameras):
        means: dict[int, float] = {}
        for person in set(said):
            own = [j for j in range(i) if said[j] == person]
            met = any(cameras[j] == camera and ends[j] - starts[i] > HANDOVER for j in own)
            level = level_cameras(features[: i + 1], cameras[: i + 1])
            means[person] = -1.0 if met else np.mean([level[j] @ level[i] for j in own])
        best = max(means, key=lambda person: means[person], default=0)
        expected = best if best and means[best] >= 0.5 else max(said, default=0) + 1
        links.add(i, camera, starts[i], ends[i], features[i])
        said.append(links.person(i))
        assert said[-1] == expected
    assert len(set(said)) >= 8


@pytest.mark.parametrize("threshold", [0.3, None])
def test_all_tracks_are_linked_again_as_if_at_once(threshold):
    cameras, starts, ends, features, _ = made_up(8, 60, noise=0.2 if threshold else 0.08)
    links = OnlineLinks(threshold)
    said = []
    for i, camera in enumerate(cameras):
        links.add(i, camera, starts[i], ends[i], features[i])
        said.append(links.person(i))
    changes = links.relink()
    assert changes
    assert not links.relink()
    for i, (before, now) in changes.items():
        assert said[i] == before != now
        said[i] = now
    assert said == [links.person(i) for i in range(60)]
    at_once = link_tracks(features, cameras, starts, ends, threshold)
    assert groups(said) == groups(at_once.labels.tolist())


def test_tracks_that_are_asked_for_get_people_when_all_are_linked():
    cameras, starts, ends, features, _ = made_up(8, 60)
    links = OnlineLinks(threshold=0.5)
    for i, camera in enumerate(cameras):
        links.add(i, camera, starts[i], ends[i], features[i])
    assert not links.relink()
    found = links.relink(range(50))
    assert {before for before, _ in found.values()} == {0}
    assert [*found] == [*range(50)]
    people = {person for _, person in found.values()}
    assert people == {*range(1, len(people) + 1)}  # no number is lost
    assert links.person(55) in people
    at_once = link_tracks(features, cameras, starts, ends, 0.5).labels.tolist()
    assert groups([person for _, person in found.values()]) == groups(at_once[:50])


def test_further_images_change_the_mean_of_a_track():
    links = OnlineLinks(threshold=0.8)
    for key, (first, second) in enumerate([([1, 0], [1, 0]), ([0, 1], [1, 0])]):
        for feature in (first, second, second, second):
            links.add(key, "hall", 10 * key, 10 * key + 1, np.array(feature, np.float32))
    assert links.person(0) == links.person(1) == 1  # (1, 3) / √10 · (0, 1) = 0.95


def test_people_who_are_known_keep_their_numbers_and_stay_apart():
    _, _, _, features, _ = made_up(2, 2)
    links = OnlineLinks(threshold=0.5)
    links.know("Anna", 7, "", features[0])
    links.know("her twin", 9, "", features[0])
    links.add("track", "hall", 0, 1, features[0])
    assert links.person("track") == 7
    assert not links.relink()
    assert [each.person for each in links.people()] == [7]
    links.add("other", "hall", 0, 1, -features[0])
    assert links.person("other") == 10


def test_the_oldest_tracks_of_the_most_frequent_person_are_forgotten():
    cameras, starts, _, features, who = made_up(4, 400, noise=0.01)
    links = OnlineLinks(threshold=0.5, most=40)
    links.know("Anna", 1, "", -features[0])
    for i in range(400):
        links.add(i, cameras[i], 10 * starts[i], 10 * starts[i] + 0.01, features[i])
        links.person(i)
        assert len(links.tracks) <= 40
    links.relink()
    assert {each.person for each in links.people()} == {2, 3, 4, 5}
    assert "Anna" in links.tracks
    assert len({*who.tolist()}) == 4
    links.drop({1, 2, 3})  # only what was known of them beforehand
    assert "Anna" not in links.tracks
    assert {each.person for each in links.people()} == {2, 3, 4, 5}


def test_nobody_is_remembered_without_room():
    with pytest.raises(UserError, match="expected 1 track or more"):
        OnlineLinks(most=0)
    cameras, starts, ends, features, _ = made_up(2, 3)
    links = OnlineLinks(threshold=0.5, most=1)
    for i in range(3):
        links.add(i, cameras[i], starts[i], ends[i], features[i])
        links.person(i)
        assert list(links.tracks) == [i]


def test_without_a_threshold_it_is_that_of_as_many_people_as_are_remembered():
    cameras, starts, ends, features, who = made_up(5, 40, noise=0.05)
    links = OnlineLinks()
    assert links.used_threshold == USUAL.threshold(0)
    for i in range(40):
        links.add(i, cameras[i], starts[i], ends[i], features[i])
        links.person(i)
    assert len({*who.tolist()}) == 5
    assert links.used_threshold == USUAL.threshold(len(links.people())) > USUAL.threshold(2)


def test_a_known_person_without_a_name_may_turn_out_to_have_one():
    """The person has been seen in the hall before, and is enrolled by one photograph."""
    features = made_up(2, 2, noise=0.05)[3]
    links = OnlineLinks(threshold=0.5)
    links.know("person 3", 3, "hall", features[0], named=False)
    links.know("Anna", 4, "", features[0])
    links.know("Ben", 5, "", -features[0])
    links.add("track", "hall", 0, 1, features[0])
    assert links.relink(asked=["track"]) == {"track": (0, 4)}
    links.add("later", "hall", 10, 11, features[0])
    assert links.person("later") == 4
    links.drop({4})
    assert links.relink() == {"track": (4, 3), "later": (4, 3)}
    links.add("last", "hall", 20, 21, features[0])
    assert links.person("last") == 3
