"""The picture of who was where and when."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from person_reid.config.look import Look
from person_reid.errors import UserError
from person_reid.retrieval.association import Stay
from person_reid.show.lanes import draw_lanes, packed_rows

MOMENTS = st.tuples(st.integers(0, 50), st.integers(0, 20))


@given(st.lists(MOMENTS, max_size=30))
def test_no_two_bars_of_a_row_meet_and_no_row_is_in_vain(moments):
    stays = [Stay(i, "1", first, first + length) for i, (first, length) in enumerate(moments)]
    rows = packed_rows(stays)
    assert sorted(stay.person for row in rows for stay in row) == list(range(len(stays)))
    for row in rows:
        assert all(early.last < late.first for early, late in pairwise(row))
    at_once = [sum(stay.first <= t <= stay.last for stay in stays) for t in range(72)]
    assert len(rows) == max(at_once)


STAYS = [
    Stay(0, "1", 0, 100), Stay(0, "2", 130, 200), Stay(1, "$x$", 20, 90), Stay(2, "1", 60, 150)
]  # fmt: skip


def drawn(tmp_path, begin, **look):
    draw_lanes(STAYS, tmp_path / "people.svg", begin, Look(**look))
    return (tmp_path / "people.svg").read_text("utf-8")


def test_cameras_people_and_times_are_named(tmp_path):
    text = drawn(tmp_path, datetime(2026, 11, 1, 9, 30, 10))
    for words in ("camera 1", "camera $x$", ">1<", ">2<", ">3<", "09:31:00", "2026-11-01"):
        assert words in text
    assert "3 people, 1 seen by several cameras; grey: 2 seen once" in text


def test_every_date_has_its_lanes_at_the_same_time_of_day(tmp_path):
    """A stay past midnight is of the date on which it begins."""
    day, begin = 86400, datetime(2026, 11, 3, 9, 30, 10)
    stays = [
        replace(each, first=each.first + k * day, last=each.last + k * day)
        for k in (0, 1, 4)
        for each in STAYS
    ]
    late = 14.4 * 3600
    stays.append(Stay(5, "3", late, late + 900))
    draw_lanes(stays, tmp_path / "people.svg", begin)
    text = (tmp_path / "people.svg").read_text("utf-8")
    for date, times in (("2026-11-03", 1), ("2026-11-04", 1), ("2026-11-07", 1), ("2026-11-05", 0)):
        assert text.count(f">{date}<") == times
    assert text.count(">camera 3<") == 1
    assert text.count(">camera 2<") == 3
    assert "4 people, 1 seen by several cameras" in text
    assert text.count(">12:00:00<") == 1  # below all dates


def test_a_bar_is_in_a_row_of_its_camera(tmp_path, drawn):
    draw_lanes(STAYS, tmp_path / "people.svg")
    (axes,) = drawn[0].axes
    rows = {bar.get_x(): bar.get_y() + bar.get_height() / 2 for bar in axes.patches}
    assert rows == pytest.approx({0: 0, 60: 1, 130: 3, 20: 5})
    assert axes.get_yticks().tolist() == [0.5, 3, 5]


@pytest.mark.parametrize("hours", [3, 8, 16, 30, 100, 200])
def test_times_are_named_at_half_hours(hours, tmp_path, drawn):
    draw_lanes([Stay(0, "1", 0, 3600 * hours)], tmp_path / "people.svg")
    ticks = drawn[0].axes[0].get_xticks()
    assert 5 <= len(ticks) <= 10
    assert not (ticks % 1800).any()


@pytest.mark.parametrize("step", [0.1, 0.2, 0.5, 1, 2, 5, 15, 300])
def test_times_are_named_at_round_steps(step, tmp_path, drawn):
    draw_lanes([Stay(0, "1", 0, 8.5 * step)], tmp_path / "people.svg")
    ticks = drawn[0].axes[0].get_xticks()
    assert ticks == pytest.approx([step * number for number in range(9)])


def test_without_a_date_times_are_since_the_start(tmp_path):
    text = drawn(tmp_path, None, dark=True, no_title=True)
    assert "0:01:00" in text
    assert "since the start" in text
    assert "seen by" not in text


def test_labels_stand_for_the_cameras(tmp_path):
    assert ">Yard<" in drawn(tmp_path, None, labels="Hall,Yard,Gate")
    with pytest.raises(UserError, match="expected 3"):
        drawn(tmp_path, None, labels="Hall")
