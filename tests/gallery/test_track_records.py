"""The records of track files in an index."""

from dataclasses import asdict, replace

import pytest

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.track_records import (
    TrackRecord,
    crops_beside,
    record_tracks,
    recorded_tracks,
)


def record_of(path, **changes):
    record = TrackRecord(
        source="hall",
        path=str(path),
        frames="hall.mp4",
        camera="3",
        crops="people.crops/hall",
        fps=10.0,
        start=None,
        width=100,
        height=60,
        classes=None,
    )
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
    assert recorded_tracks(index) == [other, later]
    assert recorded_tracks(SearchIndex(tmp_path / "people.index")) == [other, later]


def test_a_record_reads_its_tracks(tmp_path):
    (tmp_path / "tracks.txt").write_text("1,7,5,10,20,40,0.9,2,-1\n6,7,5,10,20,40,0.9,2,-1\n")
    (track,) = record_of(tmp_path / "tracks.txt", classes="2").read()
    assert track.number == 7
    assert track.last == 0.5


WRONG = [
    {"path": "a"},  # and nothing else
    [],
    asdict(record_of("b", source="../yard")),
    *(
        asdict(record_of("b", source="yard")) | wrong
        for wrong in (
            {"source": "hall"},
            {"fps": "10"},
            {"fps": None},
            {"start": "noon"},
            {"start": 5},
            {"times": 7},
            {"weather": "rain"},
        )
    ),
]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_a_damaged_record_is_said(index, values):
    record_tracks(index, record_of("a"))
    index.note("tracks", {"yard": values})
    with pytest.raises(UserError, match=r"people\.index: the record of .* 'yard' is damaged"):
        recorded_tracks(index)


def test_paths_that_are_not_utf8_are_recorded(index):
    record = record_of("caf\udce9.txt", frames="caf\udce9.mp4")
    record_tracks(index, record)
    assert recorded_tracks(index) == [record]


def test_tracks_are_of_years_that_can_be_written(tmp_path):
    (tmp_path / "tracks.txt").write_text("900000000,7,5,10,20,40,0.9,-1,-1\n")
    record = record_of(tmp_path / "tracks.txt", fps=1e-3, start="2026-11-01 08:30:00Z")
    with pytest.raises(UserError, match="track 7 is not of the years 1900 to 9000"):
        record.read()
    assert len(replace(record, start=None).read()) == 1


def test_crops_are_beside_the_index_and_never_where_a_record_says(index, tmp_path):
    assert crops_beside(index, "hall") == tmp_path / "people.crops" / "hall"
