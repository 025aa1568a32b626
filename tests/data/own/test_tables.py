"""Tables that people write, for each command that reads one."""

import re
from pathlib import Path

import pytest

import prepare
from person_reid.data.own.corrections import read_list
from person_reid.data.own.csv_tables import read_table
from person_reid.data.own.folder_or_list import own_csv
from person_reid.errors import UserError
from person_reid.files import read_json_lines
from person_reid.gallery.metadata import read_abouts
from person_reid.retrieval.thresholds import load_threshold
from tests.data.conftest import write_image, write_images
from tests.support import ROOT
from tools.label_errors import holds_decisions

LIST = "path,identity,camera,split\n1.jpg,7,1,train\nü.jpg,8,2,train\n"
CORRECTIONS = (
    "path,identity,proposal,new_identity,probability,accept\n"
    "1.jpg,7,move,8,0.9,1\n"
    "ü.jpg,8,move,7,0.8,\n"
)
ABOUT = "path,identity,camera\n1.jpg,7,1\nü.jpg,8,2\n"


# explore.py --label_errors reads as prepare.py --corrections does.
def facts_in(file, needed=("path",)):
    """What read_abouts returns, without further columns."""
    return {path: about._replace(more=None) for path, about in read_abouts(file, needed).items()}


READERS = {
    "prepare.py --csv": (LIST, lambda file: own_csv(file.parent, file)),
    "prepare.py --corrections": (
        CORRECTIONS,
        lambda file: read_list(file, {"1.jpg": 7, "ü.jpg": 8}),
    ),
    "label_errors.py --save": (CORRECTIONS, holds_decisions),
    "search.py index --about": (ABOUT, facts_in),
    "search.py apply": (ABOUT, lambda file: facts_in(file, ("path", "identity"))),
}
each_reader = pytest.mark.parametrize(("text", "read"), READERS.values(), ids=READERS)


def separated(text, separator):
    return text.replace(",", separator)


def first_line(text, change):
    first, rest = text.split("\n", 1)
    return f"{change(first)}\n{rest}"


WRITINGS = {
    "semicolons": lambda text: separated(text, ";").encode(),
    "tabs": lambda text: separated(text, "\t").encode(),
    "a separator for Excel": lambda text: b"sep=;\r\n" + separated(text, ";").encode(),
    "blanks after commas": lambda text: separated(text, ", ").encode(),
    "capitals": lambda text: first_line(text, str.upper).encode(),
    "a byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: separated(text, "\t").encode("utf-16"),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "quotes": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text).encode(),
    "numbers with points": lambda text: re.sub(r"(?<=,)(\d)(?=,|\n)", r"\1.0", text).encode(),
    "empty columns and lines": lambda text: (text.replace("\n", ",,\n") + ",,,,,,,\n").encode(),
    "the index of pandas": lambda text: "".join(
        f"{number or ''},{line}\n" for number, line in enumerate(text.splitlines())
    ).encode(),
    "another column": lambda text: "\n".join(
        f"{line},remark" for line in text.splitlines()
    ).encode(),
}


@pytest.fixture
def table(tmp_path):
    write_images(tmp_path, ["1.jpg", "ü.jpg"])
    return tmp_path / "table.csv"


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS)
@each_reader
def test_a_table_says_the_same_in_every_writing(text, read, write, table):
    table.write_bytes(text.encode())
    expected = read(table)
    table.write_bytes(write(text))
    assert read(table) == expected


FAULTS = {
    "Latin-1": (lambda text: text.encode("latin-1"), "not UTF-8"),
    "UTF-16 without a mark": (lambda text: text.encode("utf-16-le"), "zero byte|not UTF-8"),
    "a column twice": (
        lambda text: first_line(text, lambda names: f"{names}, Path").encode(),
        "path is there twice",
    ),
    "a column without a name": (
        lambda text: (
            "".join(f"{line},{i and 'test'}\n" for i, line in enumerate(text.splitlines()))
            .replace(",0\n", ",\n")
            .encode()
        ),
        r"line 2: 'test' is in column \d, which has no name",
    ),
    "a value too many": (
        lambda text: (text.rstrip() + ",test\n").encode(),
        r"line 3: "
        r"'test' is in column",
    ),
    "an open quote": (lambda text: text.replace("1.jpg", '"1.jpg').encode(), "not readable as CSV"),
    "a rounded number": (
        lambda text: text.replace(",7", ",2.02401E+12").encode(),
        "line 2: identity 2.02401E.12",
    ),
    "no path column": (
        lambda text: first_line(text, lambda names: names[4:]).encode(),
        "expected the columns path",
    ),
}


@pytest.mark.parametrize(("write", "problem"), FAULTS.values(), ids=FAULTS)
@each_reader
def test_a_table_at_fault_is_refused_and_stays(text, read, write, problem, table):
    table.write_bytes(write(text))
    before = table.read_bytes()
    with pytest.raises(UserError, match=problem):
        read(table)
    assert table.read_bytes() == before


def test_every_table_of_a_user_is_read_by_one_function():
    tools = (ROOT / "tools").glob("*.py")
    files = [*(ROOT / "person_reid").rglob("*.py"), *ROOT.glob("*.py"), *tools]
    text = {path.name: path.read_text(encoding="utf-8") for path in files}
    reading = {
        name for name, code in text.items() if re.search(r"DictReader|csv\.reader|read_csv", code)
    }
    assert reading == {"csv_tables.py", "zoo.py"}  # the latter reads a file of the package
    users = {name for name, code in text.items() if "import read_table" in code}
    assert users == {
        "folder_or_list.py",
        "corrections.py",
        "label_errors.py",
        "metadata.py",
        "association.py",
        "labels.py",
    }


@pytest.mark.parametrize("name", ["cam", "Cameras", "camera_id", "Kamera", "cam_id"])
def test_a_column_nearly_called_like_one_that_is_missing_is_refused(name, table):
    table.write_text(f"path,identity,{name}\n1.jpg,7,1\n")
    with pytest.raises(UserError, match=f"there is a column {name.lower()} and no column camera"):
        own_csv(table.parent, table)


def test_columns_that_are_not_read_are_named(table, caplog):
    table.write_text("path,identity,Species,date\n1.jpg,7,turtle,today\n")
    assert read_table(table, ("path", "identity")) == [(2, {"path": "1.jpg", "identity": "7"})]
    assert caplog.messages == [f"{table}: columns that are not read: species, date."]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_device_that_never_ends_is_not_read():
    with pytest.raises(UserError, match="/dev/full: a device; expected a file"):
        read_table(Path("/dev/full"), ("path", "identity"))
    with pytest.raises(UserError, match="/dev/full: a device; expected a file"):
        load_threshold("/dev/full")
    with pytest.raises(UserError, match="/dev/full: a device; expected a file"):
        read_json_lines("/dev/full")


def test_gaps_of_pandas_are_empty_but_a_path_may_be_called_so(table):
    table.write_text("path,identity,camera\nnan,7,nan\n1.jpg,<NA>,3.0\n")
    rows = [row for _, row in read_table(table, ("path", "identity"), ("camera",))]
    assert rows == [
        {"path": "nan", "identity": "7", "camera": ""},
        {"path": "1.jpg", "identity": "", "camera": "3"},
    ]


def test_words_and_fractions_stay_as_they_are(table):
    table.write_text("path,identity\na,1.5\nb,c1.0\nc,-1.0\nd,0.0\ne,007\nf,7e5\n")
    rows = read_table(table, ("path", "identity"))
    assert [row["identity"] for _, row in rows] == ["1.5", "c1.0", "-1", "0", "007", "7e5"]


def test_images_of_a_list_are_found_after_their_folder_has_moved(tmp_path):
    """Crops of two videos have the same names, so a name alone is not enough."""
    for folder in ("shop/hall", "shop/yard", ""):
        write_image(tmp_path / "now" / folder / "000001_000005.jpg")
    old = tmp_path / "before" / "shop"
    lines = [f"{old / video / '000001_000005.jpg'},{video}" for video in ("hall", "yard")]
    table = tmp_path / "corrections.csv"
    table.write_text("path,identity\n" + "\n".join(lines) + "\n")
    for folder in ("now", "now/shop"):
        found = own_csv(tmp_path / folder, table, 0)["train_all"]
        assert {(each.source, each.identity) for each in found} == {
            (tmp_path / "now/shop" / video / "000001_000005.jpg", video)
            for video in ("hall", "yard")
        }
    with pytest.raises(
        UserError, match=r"(?s)2 image\(s\) listed but.*If they have moved.*data_dir"
    ):
        own_csv(tmp_path / "now" / "shop" / "hall", table, 0)


@pytest.mark.parametrize(
    "path",
    ["caf\u00e9\\1.jpg", "caf\u00e9/1.jpg", "D:\\shop\\caf\u00e9\\1.jpg", "/old/caf\u00e9/1.jpg"],
)
def test_images_are_found_by_the_list_of_another_system(path, tmp_path):
    """Files from a Mac write an accent as two characters, a list of Windows has backslashes."""
    image = write_image(tmp_path / "cafe\u0301" / "1.jpg")
    (tmp_path / "list.csv").write_text(f"path,identity\n{path},7\n", encoding="utf-8")
    (found,) = own_csv(tmp_path, tmp_path / "list.csv", 0)["train_all"]
    assert found.source.samefile(image)


def test_a_list_says_which_lines_lack_a_camera_or_a_split(table, caplog):
    table.write_text("path,identity,camera\n1.jpg,7,1\nü.jpg,8,\n", encoding="utf-8")
    own_csv(table.parent, table, 0)
    assert f"{table}: no camera for 1 of 2 images." in caplog.text
    table.write_text("path,identity,split\n1.jpg,7,train\nü.jpg,8,\n", encoding="utf-8")
    with pytest.raises(
        UserError, match="line 3: expected a path and a split of train.*found .*split ''"
    ):
        own_csv(table.parent, table)
    table.write_text("path,identity,split\n1.jpg,7,\nü.jpg,8,\n", encoding="utf-8")
    assert len(own_csv(table.parent, table, 0, seed=1)["train_all"]) == 2
    assert "the column split is empty, so a split is drawn" in caplog.text


def test_the_list_of_a_spreadsheet_is_laid_out_as_that_of_a_program(tmp_path, capsys):
    rows = [(f"{who}_{i}.jpg", who, f"c{i % 2}") for who in range(1, 5) for i in range(4)]
    for folder in ("plain", "spreadsheet"):
        for name, *_ in rows:
            write_image(tmp_path / folder / name)
    lines = [("path", "identity", "camera"), *rows]
    plain, sheet = (tmp_path / folder / "list.csv" for folder in ("plain", "spreadsheet"))
    plain.write_text("".join(f"{','.join(map(str, line))}\n" for line in lines))
    sheet.write_text(
        "".join(f"{';'.join(map(str, line))}\r\n" for line in lines),
        encoding="utf-8-sig",
        newline="",
    )
    found = []
    for file in (plain, sheet):
        prepare.main(["--csv", str(file)])
        out = file.parent / "pytorch"
        found.append(sorted(path.relative_to(out) for path in out.rglob("*.jpg")))
    assert found[0] == found[1]
    assert capsys.readouterr().err == ""


def test_two_lines_that_contradict_one_another_about_an_image_of_an_index(table):
    table.write_text("path,identity\n1.jpg,7\na/../1.jpg,8\n")
    with pytest.raises(UserError, match="line 3: another line says something else of a/../1.jpg"):
        read_abouts(table)
    table.write_text("path,identity\n1.jpg,7\n./1.jpg,7.0\n,8\n")
    with pytest.raises(UserError, match="line 4: expected a path"):
        read_abouts(table)


@pytest.mark.parametrize("name", ["campus", "campaign", "clock", "splitter", "trackers_note"])
def test_a_column_that_is_not_read_is_passed_over_and_named(name, table, caplog):
    table.write_text(f"path,identity,{name}\n1.jpg,7,1\n")
    rows = read_table(table, ("path", "identity"), ("camera", "split", "clothes", "track", "time"))
    assert rows == [(2, {"path": "1.jpg", "identity": "7"})]
    assert f"columns that are not read: {name}" in caplog.text


@pytest.mark.parametrize(
    ("written", "read"), [("7.0", "7"), ("7,00", "7"), ("7.", "7"), ("1,000", "1,000")]
)
def test_a_separator_of_thousands_is_no_decimal_point(written, read, tmp_path):
    (tmp_path / "list.csv").write_text(f'path,identity\n1.jpg,"{written}"\n')
    (about,) = read_abouts(tmp_path / "list.csv", ("path",)).values()
    assert about.identity == read
