"""People of linked tracks are called by names and numbers."""

from pathlib import Path

import numpy as np

from person_reid.data.video.tracked_boxes import Track
from person_reid.gallery.indexed_tracks import Corrections, IndexedTrack
from person_reid.gallery.metadata import About
from person_reid.gallery.naming import known_name, name_people, number_people
from person_reid.gallery.track_records import TrackRecord

RECORD = TrackRecord("hall", "a", "b", "3", "c", 10.0, None, 100, 60, None)


def track_of(*identities):
    """A track whose images have some identities in an index."""
    images = [(Path(f"{i}.png"), About(identity=each)) for i, each in enumerate(identities)]
    track = Track(1, np.arange(1), np.zeros((1, 4)), 0.0, 1.0)
    return IndexedTrack(RECORD, track, images, np.zeros((len(images), 8), np.float32))


def test_new_people_are_numbered_in_order():
    assert number_people([track_of("")] * 3, [0, 1, 0], Corrections()) == [1, 2]


def test_a_person_keeps_the_number_that_most_of_its_images_have():
    tracks = [track_of("person 0002", "person 0002", "person 0005"), track_of("")]
    assert number_people(tracks, [0, 1], Corrections()) == [2, 1]


def test_nobody_new_gets_a_number_that_somebody_in_the_index_has():
    tracks = [track_of(""), track_of("person 0001")]
    assert number_people(tracks, [0, 1], Corrections(), {"person 0002", "Anna"}) == [3, 1]


def test_of_two_people_with_one_number_the_one_with_more_images_keeps_it():
    tracks = [track_of("person 0001"), track_of("person 0001", "person 0001")]
    assert number_people(tracks, [0, 1], Corrections()) == [2, 1]


def test_what_somebody_has_said_outweighs_the_index():
    tracks = [track_of("person 0001", "person 0001"), track_of("person 0001")]
    said = Corrections(names={0: "person 0004", 1: "person 0001"})
    assert number_people(tracks, [0, 1], said) == [4, 1]


def test_a_name_is_what_somebody_has_called_a_track_and_not_a_number():
    track = track_of("Anna", "Anna", "Bert", "person 0001", "")
    assert known_name(track, None) == "Anna"
    assert known_name(track, "Eve") == "Eve"
    assert known_name(track, "person 0007") == ""
    assert known_name(track_of("person 0001", ""), None) == ""


def test_a_person_has_the_name_of_most_tracks_and_a_name_one_person():
    people, names = [0, 0, 0, 1, 1, 2], ["Anna", "Anna", "Bert", "Anna", "Bert", ""]
    assert name_people(people, names) == {0: "Anna", 1: "Bert"}
