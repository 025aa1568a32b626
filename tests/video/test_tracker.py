"""The tracker and its Kalman filter against slow loops, and the cases at their edges."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from person_reid import UserError
from person_reid.config.detector import TrackerOptions
from person_reid.video import kalman
from person_reid.video.kalman import Motion
from person_reid.video.tracker import Tracker, _link, overlaps

NOBODY = np.zeros((0, 4))


def walker(frame, left=0.0, speed=4.0):
    """The box of somebody who walks to the right."""
    return np.array([left + speed * frame, 50, left + speed * frame + 40, 150], float)


class SlowFilter:
    """The filter of SORT and ByteTrack in its eight dimensions, for one track."""

    def __init__(self, box):
        self.mean = np.concatenate([self.numbers(box), np.zeros(4)])
        height = self.mean[3]
        place = [height / 10, height / 10, 2e-2, height / 10]
        speed = [height / 8, height / 8, 20e-5, height / 8]
        self.covariance = np.diag(np.square(place + speed))

    @staticmethod
    def numbers(box):
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        return np.array([(left + right) / 2, (top + bottom) / 2, width / height, height])

    def predict(self, frames):
        step = np.eye(8)
        step[:4, 4:] = frames * np.eye(4)
        height = self.mean[3]
        noise = [height / 20, height / 20, 1e-2, height / 20]
        noise += [height / 160, height / 160, 1e-5, height / 160]
        self.mean = step @ self.mean
        self.covariance = step @ self.covariance @ step.T + frames * np.diag(np.square(noise))

    def correct(self, box):
        height = self.mean[3]
        seen = np.eye(4, 8)
        noise = np.diag(np.square([height / 20, height / 20, 1e-1, height / 20]))
        gain = self.covariance @ seen.T @ np.linalg.inv(seen @ self.covariance @ seen.T + noise)
        self.mean = self.mean + gain @ (self.numbers(box) - seen @ self.mean)
        self.covariance = (np.eye(8) - gain @ seen) @ self.covariance

    def box(self):
        centre = self.mean[:2]
        aspect, height = self.mean[2:4]
        half = np.array([aspect * height, height]) / 2
        return np.concatenate([centre - half, centre + half])


def slow_overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


class SlowTrack:
    def __init__(self, box, feature):
        self.filter = SlowFilter(box)
        self.feature = feature
        self.identity = -1
        self.count = 1
        self.missed = 0.0


def quick():
    """A tracker that is sure of a track after two boxes."""
    return Tracker(TrackerOptions(confirmations=2, least_seconds=0))


class SlowTracker:
    """ByteTrack as the paper's algorithm 1 has it, one track at a time; features are a scale's."""

    def __init__(self):
        self.tracks, self.last = [], 0
        self.strangers, self.same = [], []

    def update(self, boxes, scores, seconds, features=None):
        features = [None] * len(boxes) if features is None else features
        for track in self.tracks:
            track.filter.predict(30 * seconds)
            track.missed += seconds
        high = [i for i, score in enumerate(scores) if score >= 0.5]
        low = [i for i, score in enumerate(scores) if 0.1 <= score < 0.5]
        known = [track for track in self.tracks if track.identity > 0]
        fresh = [track for track in self.tracks if track.identity < 0]
        found: dict[int, SlowTrack] = {}
        self.link(found, known, high, boxes, scores, 0.2, features)
        rest = [track for track in known if track not in found.values()]
        lasting = [track for track in rest if track.missed <= seconds]
        self.link(found, lasting, low, boxes, np.ones(len(boxes)), 0.5)
        self.link(found, fresh, [i for i in high if i not in found], boxes, scores, 0.1)
        shown = [feature for feature in features if feature is not None and feature.any()]
        self.strangers += [one @ other for one, other in combinations(shown, 2)]
        for i, track in found.items():
            if features[i] is not None and features[i].any():
                if track.identity > 0:
                    self.same.append(track.feature @ features[i])
                mixed = 0.9 * track.feature + 0.1 * features[i]
                track.feature = mixed / np.linalg.norm(mixed)
            track.filter.correct(boxes[i])
            track.count, track.missed = track.count + 1, 0.0
        for track in self.tracks:
            if track.identity < 0 and track.count >= 2:
                self.last += 1
                track.identity = self.last
        self.tracks = [
            track for track in self.tracks if track.missed <= (1.0 if track.identity > 0 else 0)
        ]
        new = [
            SlowTrack(boxes[i], features[i]) for i in high if i not in found and scores[i] >= 0.6
        ]
        self.tracks += new
        return [found[i].identity if i in found else -1 for i in range(len(boxes))]

    def link(self, found, tracks, places, boxes, weights, least, features=None):
        scaled = bool(features) and min(len(self.strangers), len(self.same)) >= 50
        strange, one = (np.mean(each) if scaled else 0 for each in (self.strangers, self.same))
        alike = np.zeros((len(tracks), len(places)))
        for row, track in enumerate(tracks):
            for column, i in enumerate(places):
                similar = slow_overlap(track.filter.box(), boxes[i]) * weights[i]
                enough = least
                if scaled and similar > 0:
                    similar += (track.feature @ features[i] - strange) / (one - strange)
                    enough += 0.5
                alike[row, column] = similar if similar >= enough else 0
        for row, column in zip(*linear_sum_assignment(-alike), strict=True):
            if alike[row, column] > 0:
                found[places[column]] = tracks[row]


def crowd(seed, frames=60, people=8):
    """(boxes, scores) of each frame: people who cross one another, some hidden or doubtful."""
    rng = np.random.default_rng(seed)
    starts, speeds = rng.uniform(0, 400, (people, 2)), rng.normal(0, 6, (people, 2))
    for frame in range(frames):
        seen = rng.random(people) > 0.15
        corners = (starts + frame * speeds)[seen] + rng.normal(0, 1, (seen.sum(), 2))
        sizes = rng.normal([40, 100], 2, corners.shape)
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        yield boxes, rng.uniform(0, 1, len(boxes)) ** 0.3


def test_four_small_filters_are_the_one_of_eight_dimensions():
    rng = np.random.default_rng(0)
    boxes = np.stack([walker(0), walker(3, 200, -7)])
    motion, slow = Motion.of(boxes), [SlowFilter(box) for box in boxes]
    for frames in (1, 1, 2.5, 6, 1):
        motion = motion.after(frames)
        for each in slow:
            each.predict(frames)
        seen = boxes + rng.normal(0, 3, boxes.shape)
        if frames != 6:  # one track is not seen
            motion = motion.seen(np.array([1]), seen[1:])
            slow[1].correct(seen[1])
        np.testing.assert_allclose(motion.boxes(), [each.box() for each in slow], rtol=1e-9)
        np.testing.assert_allclose(motion.place_variance[1], np.diag(slow[1].covariance)[:4])
        np.testing.assert_allclose(motion.speed[1], slow[1].mean[4:])


@pytest.mark.parametrize("seconds", [1 / 30, 1 / 5])
def test_tracks_are_those_of_a_slow_loop(seconds):
    tracker, slow = quick(), SlowTracker()
    identities = set()
    for boxes, scores in crowd(1):
        found = tracker.update(boxes, scores, seconds)
        assert found.tolist() == slow.update(boxes, scores, seconds)
        identities |= {*found.tolist()}
    assert len(identities) > 5


@pytest.mark.parametrize("seconds", [1 / 30, 1 / 5])
def test_tracks_with_features_are_those_of_a_slow_loop(seconds):
    tracker, plain = quick(), quick()
    slow = SlowTracker()
    rng = np.random.default_rng(4)
    changed = 0
    for boxes, scores in crowd(1, frames=100):
        features = rng.standard_normal((len(boxes), 8)) + 1
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        features[scores < 0.5] = 0
        found = tracker.update(boxes, scores, seconds, features).tolist()
        assert found == slow.update(boxes, scores, seconds, [*features])
        changed += found != plain.update(boxes, scores, seconds).tolist()
    assert changed > 5


def test_features_tell_apart_people_who_exchange_their_places():
    """Two boxes stand side by side, and one frame later each is where the other was."""
    left, right = np.array([0, 50, 40, 150.0]), np.array([20, 50, 60, 150.0])
    looks = np.array([[1, 0.2], [0.2, 1.0]])
    for features, expected in ((None, [1, 2]), (looks[::-1], [2, 1])):
        tracker = quick()
        for _ in range(60):
            known = None if features is None else looks
            assert set(tracker.update([left, right], [0.9, 0.9], features=known)) <= {-1, 1, 2}
        assert tracker.update([left, right], [0.9, 0.9], features=features).tolist() == expected


def test_one_person_alone_is_followed_whatever_the_features_say():
    tracker, rng = quick(), np.random.default_rng(0)
    for frame in range(200):
        found = tracker.update([walker(frame)], [0.9], features=rng.standard_normal((1, 8)))
    assert found.tolist() == [1]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([[1, 0], [0, 1]], "1 boxes, 2 features: expected as many of each"),
        ([1, 0], "1 boxes, 2 features: expected as many of each"),
        ([[1, np.nan]], "features: expected finite numbers"),
    ],
)
def test_features_of_other_boxes_are_refused(features, words):
    tracker = quick()
    tracker.update([walker(0)], [0.9], features=[[1, 0]])
    with pytest.raises(UserError, match=words):
        tracker.update([walker(1)], [0.9], features=features)
    assert tracker.update([walker(1)], [0.9]).tolist() == [1]


def test_overlaps_are_intersection_over_union():
    boxes, others = next(crowd(2))[0], next(crowd(3))[0]
    slow = [[slow_overlap(one, other) for other in others] for one in boxes]
    np.testing.assert_allclose(overlaps(boxes, others), slow)
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))) == 0


def test_somebody_is_confirmed_hidden_and_found_again():
    tracker = quick()
    found = [tracker.update([walker(frame)], [0.9]).tolist() for frame in range(5)]
    assert found == [[-1], [1], [1], [1], [1]]
    for _ in range(20):
        assert tracker.update(NOBODY, []).tolist() == []
    assert tracker.update([walker(25)], [0.9]).tolist() == [1]  # where the velocity leads
    for _ in range(31):  # more than a second
        tracker.update(NOBODY, [])
    assert [tracker.update([walker(57)], [0.9]).tolist() for _ in range(2)] == [[-1], [2]]


def test_a_low_score_continues_a_track_and_begins_none():
    tracker = quick()
    for frame in range(3):
        tracker.update([walker(frame)], [0.9])
    both = [walker(3), walker(3, left=300)]
    assert tracker.update(both, [0.2, 0.2]).tolist() == [1, -1]
    assert tracker.update([walker(4)], [0.05]).tolist() == [-1]


def test_a_track_lasts_some_time_before_it_is_sure():
    for rate, expected in ((30, 7), (18, 5), (9, 3), (5, 3)):
        tracker = Tracker()
        found = [tracker.update([walker(0)], [0.9], 1 / rate)[0] for _ in range(8)]
        assert found.index(1) + 1 == expected


@pytest.mark.parametrize(("confirmations", "expected"), [(1, [1, 1, 1]), (3, [-1, -1, 1])])
def test_confirmations_are_counted(confirmations, expected):
    tracker = Tracker(TrackerOptions(confirmations=confirmations, least_seconds=0))
    found = [tracker.update([walker(frame)], [0.9]).item() for frame in range(3)]
    assert found == expected


def test_a_track_keeps_its_number_from_its_first_box_on():
    tracker, seen = quick(), []
    for frame in range(3):
        tracker.update([walker(frame), [300, 0, 310, 40 + 200 * frame]], [0.9, 0.9 - 0.7 * frame])
        seen.append(tracker.numbers.tolist())
    assert seen == [[1, 2], [1, 0], [1, 0]]
    assert tracker.update(NOBODY, []).tolist() == tracker.numbers.tolist() == []


def test_more_time_between_frames_lets_people_go_farther():
    """Two boxes that hardly overlap are one person who walks, if a fifth of a second passed."""
    fast = [walker(frame, speed=26.0) for frame in range(6)]
    tracker = quick()
    found = [tracker.update([box], [0.9], seconds=1 / 5).item() for box in fast]
    assert found == [-1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("gap", "same"), [(0.9, True), (3, True), (10, True), (11, False)])
def test_whoever_stands_in_the_same_place_after_an_interruption_is_a_new_person(gap, same):
    """A time-lapse with a frame every few seconds is still tracked."""
    tracker = Tracker()
    still = walker(0, speed=0)[None]
    found = [tracker.update(still, [0.9], seconds) for seconds in [0.1] * 9 + [gap] + [0.1] * 9]
    assert [found[8][0], found[-1][0]] == [1, 1 if same else 2]


def test_equal_boxes_and_scores_get_two_identities():
    tracker = quick()
    for _ in range(3):
        found = tracker.update([walker(0), walker(0)], [0.9, 0.9])
    assert sorted(found.tolist()) == [1, 2]


def test_a_box_without_area_is_no_ones():
    tracker = quick()
    for _ in range(3):
        assert tracker.update([[5, 5, 5, 5]], [0.9]).tolist() == [-1]


@pytest.mark.parametrize(
    ("boxes", "scores", "seconds", "words"),
    [
        ([[0, 0, np.nan, 9]], [0.9], 1, "found NaN or infinity"),
        ([[0, 0, 9, 9]], [np.inf], 1, "found NaN or infinity"),
        ([[0, 0, 9]], [0.9], 1, r"expected \(N, 4\)"),
        ([[9, 0, 0, 9]], [0.9], 1, "left, top, right, bottom"),
        ([[0, 0, 9, 9]], [0.9, 0.8], 1, "as many of each"),
        ([[0, 0, 9, 9]], [0.9], 0, "seconds: expected a number above 0"),
        ([["a"] * 4], [0.9], 1, "expected real numbers"),
    ],
)
def test_what_is_no_box_is_refused(boxes, scores, seconds, words):
    tracker = quick()
    tracker.update([walker(0)], [0.9])
    with pytest.raises(UserError, match=words):
        tracker.update(boxes, scores, seconds)
    assert tracker.update([walker(1)], [0.9]).tolist() == [1]  # the refusal changed nothing


def test_the_constants_are_those_of_the_slow_filter():
    """A change of one should be a decision."""
    assert (kalman.FIRST_PLACE, kalman.FIRST_SPEED) == (2, 20)


def test_a_pair_is_linked_from_the_least_similarity_on():
    rows = np.full(2, -1)
    _link(rows, np.diag([0.5, 0.49]), 0.5, np.ones(2, bool), np.ones(2, bool))
    assert rows.tolist() == [0, -1]
