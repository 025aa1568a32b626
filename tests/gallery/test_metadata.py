"""Who, where and when: recorded, asked for, and forgotten without a trace in any file."""

import os
import re
import time
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from person_reid.config.times import ago, instant, moment, parsed
from person_reid.errors import UserError
from person_reid.gallery import index as module
from person_reid.gallery import inverted_lists
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import (
    EVERYTHING,
    About,
    Filter,
    about_images,
    listed_path,
    read_abouts,
)
from tests.retrieval.conftest import clusters

RANDOM = np.random.default_rng(1)
FEATURES = clusters(RANDOM, 600, dimension=32, identities=40)
PATHS = [f"/secret/{number:04d}.jpg" for number in range(len(FEATURES))]
WHO = [
    About(
        *map(
            str,
            (f"name{name}", camera, f"2026-11-{day:02d} 08:00:00Z", track, f"video{track % 3}.mp4"),
        )
    )
    for name, camera, day, track in RANDOM.integers(1, (9, 4, 29, 50), (len(PATHS), 4)).tolist()
]
WHO[5:8] = [About(), About("name1"), About(None, "2", None)]


@pytest.fixture
def index(tmp_path):
    index = SearchIndex(tmp_path / "a.index", codes="float32")
    index.add(PATHS, FEATURES)
    index.describe(dict(zip(PATHS, WHO, strict=True)))
    return index


def test_names_are_compared_in_unicodes_composed_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    index = SearchIndex(tmp_path / "a.index")
    facts = {"a.jpg": About(composed, decomposed), "b.jpg": About(decomposed, composed)}
    index.add([*facts], FEATURES[:2], facts)
    for name in (composed, decomposed):
        for names in (Filter(identity=name), Filter(camera=name)):
            assert sum(len(images) for images, _ in index.entries(names)) == 2


def use_lists(monkeypatch):
    """Search by inverted lists, not exactly."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "MOST_COMPARED", 500)
    monkeypatch.setattr(module, "MOST_ADMITTED", 0)


def fits(about, which):
    """Whether a filter lets an image through, in Python."""
    return (
        (which.identity is None or about.identity == which.identity)
        and (which.camera is None or about.camera == which.camera)
        and (which.track is None or about.track == which.track)
        and (which.source is None or about.source == which.source)
        and (not which.has_identity or bool(about.identity))
        and (which.after is None or (about.time is not None and about.time >= which.after))
        and (which.before is None or (about.time is not None and about.time < which.before))
    )


def test_an_image_that_is_replaced_keeps_what_is_not_said_anew(index):
    index.add(PATHS[:2], FEATURES[:2], {PATHS[0]: About(identity="Anna"), "other": About("nobody")})
    found = [index.search(FEATURES[i : i + 1], 1)[0][0].about for i in (0, 1)]
    assert found == [WHO[0]._replace(identity="Anna"), WHO[1]]


def test_a_file_that_shows_another_picture_loses_its_person(index, caplog):
    # as another batch may round them
    again = FEATURES[:3] + RANDOM.normal(0, 1e-3, (3, 32)).astype(np.float32)
    index.add(PATHS[:3], again)
    assert [
        about
        for images, _ in index.entries()
        for path, about in images
        if path.as_posix() in PATHS[:3]
    ] == WHO[:3]
    assert "another" not in caplog.text
    index.add(PATHS[:3], -FEATURES[:3], {PATHS[2]: About("Anna")})
    found = [index.search(-FEATURES[i : i + 1], 1)[0][0].about for i in range(3)]
    assert found == [
        WHO[i]._replace(identity=name, track=None) for i, name in enumerate([None, None, "Anna"])
    ]
    assert (
        "another picture than before in 3 files; the old identity and track are dropped"
        in caplog.text
    )


FILTERS = [
    Filter(identity="name1"),
    Filter(camera="2"),
    Filter(after="2026-11-10 08:00:00"),
    Filter(track="7", source="video1.mp4"),
    Filter(has_identity=True),
    Filter(has_identity=True, camera="2"),
    Filter(camera="1", after="2026-11-05 00:00:00", before="2026-11-20 08:00:00"),
    Filter(identity="nobody"),
    EVERYTHING,
]


@pytest.mark.parametrize("which", FILTERS, ids=str)
@pytest.mark.parametrize("by_lists", [False, True])
def test_a_filter_is_the_search_among_those_it_lets_through(index, which, by_lists, monkeypatch):
    if by_lists:
        use_lists(monkeypatch)
        index.lists().index.nprobe = index.lists().index.nlist  # all of them: exact
    allowed = [i for i, about in enumerate(WHO) if fits(about, which)]
    order = sorted(allowed, key=lambda i: -float(FEATURES[0] @ FEATURES[i]))[:10]
    found = index.search(FEATURES[:1], 10, among=which)[0]
    np.testing.assert_allclose(
        [each.similarity for each in found], FEATURES[order] @ FEATURES[0], atol=1e-6
    )
    assert {each.path.as_posix() for each in found} <= {PATHS[i] for i in allowed}
    assert all(each.about == WHO[PATHS.index(each.path.as_posix())] for each in found)


@pytest.mark.parametrize("before", ["2026-11-01 00:00:00", "2026-10-31T23:59:59"])
def test_a_period_that_ends_before_it_begins_is_refused(before):
    words = rf"from 2026-11-01 00:00:00\S+ on and before {before.replace('T', ' ')}\S+: no time is"
    with pytest.raises(UserError, match=words):
        Filter(after="2026-11-01 00:00:00", before=before)


DAY = {f"{hour:02d}.jpg": datetime(2026, 11, 1, hour) for hour in (8, 12, 18)}  # local


@pytest.fixture
def day(tmp_path):
    """An index of three images of a day."""
    index = SearchIndex(tmp_path / "day.index")
    index.add(
        [*DAY], FEATURES[:3], {path: About(time=cast(Any, time)) for path, time in DAY.items()}
    )
    return index


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def zone(request, monkeypatch):
    """A zone in which this machine is."""
    if not hasattr(time, "tzset"):
        pytest.skip("Windows keeps its zone")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOON = datetime(2026, 11, 1, 12)
SAME_NOON = {
    "a text": lambda: "2026-11-01T12:00:00",
    "a text with a blank": lambda: "2026-11-01 12:00",
    "a datetime": lambda: NOON,
    "an aware datetime": lambda: NOON.astimezone(timezone(timedelta(hours=-5))),
    "an offset": lambda: NOON.astimezone(timezone(timedelta(hours=9))).isoformat(),
    "part of a second": lambda: NOON - timedelta(microseconds=1),
}


@pytest.mark.parametrize("noon", SAME_NOON)
def test_a_time_is_a_time_however_it_is_written(noon, zone, day):
    noon = SAME_NOON[noon]()

    def left(which):
        return {str(path) for images, _ in day.entries(which) for path, _ in images}

    assert left(Filter(before=noon)) == {"08.jpg"}
    assert left(Filter(after=noon)) == {"12.jpg", "18.jpg"}
    assert left(Filter(after="2026-11-01T09:00", before="2026-11-02")) == {"12.jpg", "18.jpg"}
    assert left(Filter(after=NOON.date(), before=NOON + timedelta(days=1))) == {*DAY}
    assert day.forget(Filter(before="2026-11-01T09:00:00"), "x") == 1
    assert left(EVERYTHING) == {"12.jpg", "18.jpg"}


@pytest.mark.parametrize(
    "given",
    [
        {"before": "yesterday"}, {"before": ""}, {"after": 20261101}, {"after": True},
        {"camera": 1.5}, {"identity": b"Anna"}, {"source": ["a"]}, {"image": 7}, {"track": False},
    ],
    ids=str,
)  # fmt: skip
def test_a_filter_that_means_nothing_is_refused(given):
    with pytest.raises(UserError, match=f"{next(iter(given))}: expected|no such time"):
        Filter(**given)


def test_an_image_is_named_as_it_was_added_and_a_camera_by_its_number(day):
    day.add([Path("some/a.jpg")], FEATURES[3:4], {"some/a.jpg": About(camera=cast(Any, 3))})
    for which in (
        Filter(image="./some/a.jpg"),
        Filter(image=Path("some/a.jpg")),
        Filter(camera=cast(Any, 3)),
    ):
        assert day.search(FEATURES[:1], 9, among=which)[0][0].about == About(camera="3")
    assert day.forget(Filter(image="some/a.jpg"), "image") == 1


def test_what_means_nothing_is_refused_before_anything_is_touched(day):
    before = day.path.read_bytes()
    new = FEATURES[5:6]
    for work, words in {
        lambda: day.add("a", new): "expected a list of paths, found 'a'",
        lambda: day.add([None], new): "expected the path of an image, found None",
        lambda: day.add({"a": 1}, new): "expected a list of paths",
        lambda: day.add(None, new): "expected a list of paths",
        lambda: day.add(["a"], new, {"a": "Anna"}): "expected an About, found 'Anna'",
        lambda: day.add(["a"], new, {"a": About(time="soon")}): "'soon': no such time",
        lambda: day.describe(
            {"08.jpg": About(identity=cast(Any, b"x"))}
        ): "identity: expected a text",
        lambda: day.missing("08.jpg"): "expected a list of paths",
    }.items():
        with pytest.raises(UserError, match=re.escape(words)):
            work()
    with pytest.raises(AttributeError):
        day.forget("x", "x")
    assert day.path.read_bytes() == before
    assert len(day) == 3
    day.add((path for path in ["a.jpg", Path("b.jpg")]), list(FEATURES[5:7]))
    assert len(day) == 5


def test_lists_find_nearly_what_exact_search_finds_among_few_and_many(index, monkeypatch):
    use_lists(monkeypatch)
    for which in FILTERS:
        answers = [
            index.search(FEATURES[:99], 10, exact=exact, among=which) for exact in (False, True)
        ]
        found, right = ([{each.path for each in row} for row in answer] for answer in answers)
        shares = [len(a & b) / len(b) for a, b in zip(found, right, strict=True) if b]
        assert not shares or np.mean(shares) > 0.95
    lists = index.lists().index
    assert lists.nprobe < lists.nlist


@pytest.mark.parametrize("by_lists", [False, True])
def test_a_filter_sees_what_changes_between_two_searches(index, by_lists, monkeypatch):
    if by_lists:
        use_lists(monkeypatch)
    which = Filter(camera="new")

    def found():
        return {each.path.as_posix() for each in index.search(FEATURES[:1], 10, among=which)[0]}

    assert found() == set()
    index.describe({PATHS[3]: About(camera="new")})
    assert found() == {PATHS[3]}
    other = SearchIndex(index.path)  # as another process would
    other.describe({PATHS[4]: About(camera="new"), PATHS[5]: About(camera="new")})
    assert found() == set(PATHS[3:6])
    other.forget(Filter(image=PATHS[3].encode()), "words")
    other.add([PATHS[4], "/another.jpg"], FEATURES[4:6])
    other.describe({"/another.jpg": About(camera="new")})
    assert found() == {PATHS[4], PATHS[5], "/another.jpg"}


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def replaced(folder):
    """Whether a feature that was replaced before is in a file of the folder."""
    return any(
        (-feature).tobytes() in content
        for feature in FEATURES[70:80]
        for content in contents(folder).values()
    )


def traces(folder, numbers):
    """The images whose path, name or feature, or a part of one, is in a file of the folder."""
    found = set()
    for content in contents(folder).values():
        for i in numbers:
            parts = [PATHS[i].encode(), FEATURES[i].tobytes(), FEATURES[i][8:24].tobytes()]
            if any(part in content for part in parts):
                found.add(i)
    return found


@pytest.mark.parametrize(
    "which", [*FILTERS[:-2], Filter(image=PATHS[77].encode()), EVERYTHING], ids=str
)
def test_nothing_of_what_is_forgotten_is_left_in_any_file(index, which, tmp_path, monkeypatch):
    use_lists(monkeypatch)
    index.store.db.rows("PRAGMA secure_delete = OFF")  # as it is in many builds of SQLite
    # replaced twice: the old features must vanish as well
    index.add(PATHS[70:80], FEATURES[70:80] * -1)
    index.add(PATHS[80:200], FEATURES[80:200])
    index.add(PATHS[70:80], FEATURES[70:80], dict(zip(PATHS, WHO, strict=True)))
    index.prepare()
    (lists,) = tmp_path.glob("*.lists")
    # of a process that was killed
    lists.with_name(f".{lists.name}.123.partial").write_bytes(lists.read_bytes())
    gone = {
        i
        for i, about in enumerate(WHO)
        if fits(about, which) and which.image in (None, PATHS[i].encode())
    }
    assert traces(tmp_path, gone) == gone
    assert replaced(tmp_path)
    assert index.forget(which, "words") == len(gone) > 0
    assert traces(tmp_path, range(len(PATHS))) == set(range(len(PATHS))) - gone
    assert not replaced(tmp_path)
    if which.identity:
        assert not any(
            which.identity.encode() in content for content in contents(tmp_path).values()
        )
    assert index.store.db.rows("SELECT asked, images FROM forgotten") == [("words", len(gone))]
    again = SearchIndex(index.path)
    assert len(again) == len(PATHS) - len(gone)
    for found in again.search(FEATURES[:5], 20) if len(again) else []:
        assert not {each.path.as_posix() for each in found} & {PATHS[i] for i in gone}


def test_lists_that_are_made_while_another_process_forgets_leave_no_trace_either(
    index, tmp_path, monkeypatch
):
    use_lists(monkeypatch)
    which = Filter(identity="name1")
    gone = [i for i, about in enumerate(WHO) if about.identity == "name1"]
    tune = inverted_lists._tune

    def forgetting(*given):
        words = tune(*given)
        SearchIndex(index.path).forget(which, "words")
        return words

    monkeypatch.setattr(inverted_lists, "_tune", forgetting)
    found = index.search(FEATURES[:5], 20)
    assert not {each.path.as_posix() for row in found for each in row} & {PATHS[i] for i in gone}
    assert traces(tmp_path, gone) == set()
    monkeypatch.setattr(inverted_lists, "_tune", tune)
    SearchIndex(index.path).search(FEATURES[:5], 20)
    assert list(tmp_path.glob("*.lists"))
    assert traces(tmp_path, gone) == set()


def test_an_interruption_before_the_file_is_rewritten_leaves_no_trace_either(
    index, tmp_path, monkeypatch
):
    run = index.store.db.rows

    def interrupted(command, values=()):
        if command == "VACUUM":
            raise KeyboardInterrupt
        return run(command, values)

    run("PRAGMA secure_delete = OFF")
    monkeypatch.setattr(index.store.db, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.forget(Filter(identity="name1"), "words")
    gone = [i for i, about in enumerate(WHO) if about.identity == "name1"]
    assert traces(tmp_path, gone) == set()


def test_what_is_known_comes_from_the_list_the_name_exif_or_the_file(tmp_path):
    paths = [tmp_path / name for name in ("7_c3.jpg", "8_c4.jpg", "other.png")]
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2026:10:05 06:07:08"}
    exif[0x0132] = "2026:12:24 18:00:00"  # edited later
    Image.new("RGB", (4, 8)).save(paths[0], exif=exif)
    for path in paths[1:]:
        Image.new("RGB", (4, 8)).save(path)
        os.utime(path, (86400 * 365, 86400 * 365))
    (tmp_path / "list.csv").write_text(
        "path,identity,time,track\n8_c4.jpg,Anna,2026-11-01T09:30,5\n"
    )
    changed = "1971-01-01 00:00:00Z"
    found = about_images(paths, tmp_path / "list.csv", r"(?P<id>\d+)_c(?P<camera>\d)")
    assert list(found.values()) == [
        About("7", "3", moment("2026-10-05 06:07:08")),
        About("Anna", "4", moment("2026-11-01 09:30:00"), "5"),
        About(None, None, changed),
    ]
    assert about_images(paths[:1], pattern=r"_c(?P<camera>\d)")[paths[0]][:2] == (None, "3")
    assert about_images(paths[:1], pattern=r"^(?P<identity>\d+)_")[paths[0]].identity == "7"
    folder = about_images(paths[:1], pattern=rf"{tmp_path.name}/(?P<track>\d+)(?P<source>x)?")[
        paths[0]
    ]
    assert folder.track == "7"
    assert folder.source is None
    # Below the folder that was named, as prepare.py reads it; a folder above is found if need be.
    below = about_images(paths[:1], pattern="(?P<identity>[^/]+)/", folders=[tmp_path.parent])
    assert below[paths[0]].identity == tmp_path.name
    above = about_images(
        paths[:1], pattern=rf"{tmp_path.parent.name}/(?P<source>\w)", folders=[tmp_path]
    )
    assert above[paths[0]].source == tmp_path.name[0]
    for pattern, words in (
        ("(", "not a regular expression"),
        (r"(?P<id>\d)(?P<who>\d)", "expected groups of id, camera, track"),
        (r"\d", "expected groups of id, camera, track"),
    ):
        with pytest.raises(UserError, match=words):
            about_images(paths, pattern=pattern)
    with pytest.raises(UserError, match=r"list\.csv: lists none of the 1 images"):
        about_images(paths[:1], tmp_path / "list.csv")
    with pytest.raises(UserError, match="no such time; expected 2026-11-01"):
        (tmp_path / "list.csv").write_text("path,time\n8_c4.jpg,yesterday\n")
        about_images(paths, tmp_path / "list.csv")


def test_without_the_time_of_the_camera_another_entry_of_exif_says_it(tmp_path):
    exif = Image.Exif()
    exif[0x0132] = "2026:12:24 18:00:00 "  # some cameras fill it up
    Image.new("RGB", (4, 8)).save(tmp_path / "a.jpg", exif=exif)
    paths = [tmp_path / "a.jpg", tmp_path / "missing.jpg"]
    assert [about.time for about in about_images(paths).values()] == [
        moment("2026-12-24 18:00:00"), None,
    ]  # fmt: skip
    assert about_images(paths, dated=paths[1:])[paths[0]].time is None


def test_the_line_at_fault_is_that_of_the_file(tmp_path):
    (tmp_path / "list.csv").write_text("path,time\n\n\na.jpg,2026-11-01\nb.jpg,yesterday\n")
    with pytest.raises(UserError, match=r"list\.csv, line 5: 'yesterday'"):
        read_abouts(tmp_path / "list.csv")


def test_a_path_is_read_back_as_it_is_listed(tmp_path):
    paths = [
        tmp_path / os.fsdecode(name)
        for name in (b"caf\xe9.jpg", b"a\x1bb%41.jpg", "schön%41.jpg".encode())
    ]
    lines = [listed_path(path) for path in paths]
    assert [line.startswith("file://") for line in lines] == [True, True, False]
    (tmp_path / "list.csv").write_text(
        "path\n" + "\n".join([*lines, "file:///no%00name"]), encoding="utf-8"
    )
    assert [*read_abouts(tmp_path / "list.csv")][:3] == paths


def test_years_have_four_digits():
    assert ago("60000w") < "0999"
    assert moment("0876-01-02T00:00Z") == "0876-01-02 00:00:00Z"
    with pytest.raises(UserError, match="no such time"):
        moment("0001-01-01T00:00+14:00")


def test_times_and_ages_are_read():
    assert moment(" 2026-11-01T09:30Z ") == "2026-11-01 09:30:00Z"
    assert moment("2026-11-01T09:30+01:00") == "2026-11-01 08:30:00Z"
    assert instant("2026-11-01T09:30:00.5Z") == "2026-11-01 09:30:00.500000Z"
    local = datetime(2026, 11, 1).timestamp()
    assert parsed("2026-11-01").timestamp() == local == parsed(moment("2026-11-01")).timestamp()
    for text, delta in (
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("4w", timedelta(weeks=4)),
    ):
        passed = datetime.now(UTC) - parsed(ago(text))
        assert abs(passed - delta) < timedelta(seconds=5)
    for text in ("30", "d", "-1d", "1y"):
        with pytest.raises(UserError, match="no such age; expected 12h"):
            ago(text)
