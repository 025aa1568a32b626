"""Times, in and out of UTC."""

import time
from datetime import datetime

import pytest

from person_reid.config.times import moment, stored, written
from person_reid.errors import UserError
from person_reid.gallery.metadata import Filter


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows keeps its zone")
def test_an_hour_that_comes_twice_is_two_hours(monkeypatch):
    """On the last Sunday of October, clocks in Berlin go from 3 back to 2."""
    try:
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        first, second = "2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z"
        assert written(first) == "2026-10-25 02:50:00+02:00"
        assert written(second) == "2026-10-25 02:10:00+01:00"
        assert moment(first) < moment(second)
        assert [moment(written(each)) for each in (first, second)] == [
            "2026-10-25 00:50:00Z", "2026-10-25 01:10:00Z",
        ]  # fmt: skip
        assert moment("2026-11-01T09:30") == "2026-11-01 08:30:00Z"  # local
        assert stored(datetime(2026, 11, 1, 9, 30)) == "2026-11-01 08:30:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_at_the_ends_of_the_calendar_are_refused_in_words(monkeypatch, zone):
    try:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        for text in ("9999-12-31T23:59:59.5Z", "9999-12-31T23:00Z", "0001-01-01T00:00Z"):
            for read in (moment, written, lambda text: Filter(after=text)):
                with pytest.raises(UserError, match="no such time"):
                    read(text)
        for text in ("9999-12-30T23:59:59.5Z", "0001-01-02T00:00Z"):
            assert Filter(before=text).before
            assert written(moment(text))
    finally:
        monkeypatch.undo()
        time.tzset()
