"""The records of track files in an index."""

from dataclasses import replace

import pytest

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.tracks import TrackRecord, record_tracks, recorded_tracks


def record_of(path, **changes):
    record = TrackRecord(
        source="hall", path=str(path), frames="hall.mp4", camera="3", crops="people.crops/hall",
        fps=10.0, start=None, width=100, height=60, classes=None,
    )  # fmt: skip
    return replace(record, **changes)


@pytest.fixture
def index(tmp_path):
    return SearchIndex(tmp_path / "people.index")


def test_a_track_file_has_the_record_that_came_last(index, tmp_path):
    assert recorded_tracks(index) == []
    earlier, other = record_of("a"), record_of("b", source="yard")
    later = record_of("a", start="2026-11-01 09:30:00")
    for each in (earlier, other, earlier, later):
        record_tracks(index, each)
    assert recorded_tracks(index) == [later, other]
    assert recorded_tracks(SearchIndex(tmp_path / "people.index")) == [later, other]


def test_a_record_reads_its_tracks(tmp_path):
    (tmp_path / "tracks.txt").write_text("1,7,5,10,20,40,0.9,2,-1\n6,7,5,10,20,40,0.9,2,-1\n")
    (track,) = record_of(tmp_path / "tracks.txt", classes="2").read()
    assert track.number == 7 and track.last == 0.5


def test_a_damaged_record_is_said(index):
    index.remember({"tracks 1": {"path": "a"}})
    with pytest.raises(
        UserError, match=r"people\.index: damaged: it says {'path': 'a'} of a track"
    ):
        recorded_tracks(index)
