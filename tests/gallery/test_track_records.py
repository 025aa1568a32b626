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
    assert recorded_tracks(index) == [later, other]
    assert recorded_tracks(SearchIndex(tmp_path / "people.index")) == [later, other]


def test_a_record_reads_its_tracks(tmp_path):
    (tmp_path / "tracks.txt").write_text("1,7,5,10,20,40,0.9,2,-1\n6,7,5,10,20,40,0.9,2,-1\n")
    (track,) = record_of(tmp_path / "tracks.txt", classes="2").read()
    assert track.number == 7
    assert track.last == 0.5


def test_a_damaged_record_is_said(index):
    index.remember({"tracks 1": {"path": "a"}})
    with pytest.raises(
        UserError, match=r"people\.index: damaged: it says {'path': 'a'} of a track"
    ):
        recorded_tracks(index)


def test_a_record_of_another_version_is_read_or_named(index):
    """A further fact stays, a missing one has its default, and a later form is named as that."""
    record = record_of("a")
    values = {name: value for name, value in asdict(record).items() if name != "named"}
    index.remember({"tracks 1": values | {"weather": "rain"}})
    assert recorded_tracks(index) == [record]
    record_tracks(index, record)
    assert index.recall("tracks 1")["weather"] == "rain"
    assert index.recall("tracks 2") is None
    index.remember({"tracks 2": {"version": 9, "file": "b"}})
    with pytest.raises(
        UserError, match=r"record of track file 2: of version 9; .* up to 1\. Update"
    ):
        recorded_tracks(index)


PATHS: list[object] = [0, None, "a\0b", "a\ud800"]
SIZES: list[object] = [0, 1.5, 10**400, "64", None]
WRONG: dict[str, list[object]] = {
    "source": ["/tmp/a", "../a", "..", "a/b", "a\nb", ".a", "", None, "CON", "nul.txt", "a.", "a "],
    "path": PATHS,
    "frames": PATHS,
    "camera": ["", 3, "\udce9", None],
    "crops": PATHS,
    "fps": [0, -1, 1e-300, 10**400, float("nan"), "10", True, None],
    "start": ["9999-12-31 23:59:59Z", "0001-01-01", "noon", 5],
    "width": SIZES,
    "height": SIZES,
    "classes": ["x", 1, ["1"]],
    "form": ["other", 1, []],
    "first_frame": [1.5, True, "1"],
    "times": [[1], [[1, "0"]], [[2, 0], [1, 1]], [[1, float("inf")]]],
    "named": [None, 1],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_record_that_cannot_be_is_named_with_the_fact(index, name, value):
    record_tracks(index, record_of("a"))
    index.remember({"tracks 2": asdict(record_of("b", source="yard")) | {name: value}})
    with pytest.raises(UserError, match=rf"people\.index: the record of track file 2 .*{name} is "):
        recorded_tracks(index)


def test_paths_that_are_not_utf8_are_recorded(index):
    record = record_of("caf\udce9.txt", frames="caf\udce9.mp4")
    record_tracks(index, record)
    assert recorded_tracks(index) == [record]


def test_two_track_files_of_one_source_are_refused(index):
    for path, source in (("a", "hall"), ("b", "HALL")):
        record_tracks(index, record_of(path, source=source))
    with pytest.raises(UserError, match="the track files a and b have one source, HALL"):
        recorded_tracks(index)


def test_tracks_are_of_years_that_can_be_written(tmp_path):
    (tmp_path / "tracks.txt").write_text("900000000,7,5,10,20,40,0.9,-1,-1\n")
    record = record_of(tmp_path / "tracks.txt", fps=1e-3, start="2026-11-01 08:30:00Z")
    with pytest.raises(UserError, match="track 7 is not of the years 1900 to 9000"):
        record.read()
    assert len(replace(record, start=None).read()) == 1


def test_crops_are_beside_the_index_and_never_where_a_record_says(index, tmp_path):
    assert crops_beside(index, "hall") == tmp_path / "people.crops" / "hall"
