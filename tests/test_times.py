"""Times, in and out of UTC."""

import time
from datetime import datetime

import pytest

from person_reid.config.times import moment, stored, written


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
