"""Identities and cameras that are words: numbered in names, kept in a table, and shown as words."""

import csv

import numpy as np
import pytest

import demo
import evaluate as evaluate_script
from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import with_flags
from person_reid.data.layout import read_split
from person_reid.data.own.corrections import CORRECTION_COLUMNS, corrected
from person_reid.data.own.labels import FILE, NUMBERS, Words, read_words, words_beside
from person_reid.data.prepare import lay_out
from person_reid.errors import UserError
from person_reid.files import write_csv
from person_reid.retrieval.metric_tables import save_per_query
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet, load_result, save_result
from person_reid.show import report
from person_reid.show.explorer import describe_images
from person_reid.show.explorer_images import images_of
from person_reid.show.explorer_views import describe_proposals
from tests.data.conftest import write_image

PATTERN = r"(?P<camera>[^/]+)/(?P<id>[^/]+)/"
PEOPLE, CAMERAS = ("P103", "P7", "anna", "zoë"), ("entrance", "hall, left")


def photograph(folder, people=PEOPLE, cameras=CAMERAS):
    for number, who in enumerate(people):
        for camera in cameras:
            for image in "ab":
                write_image(folder / camera / who / f"{image}.jpg", 10 * number)
    return folder


def prepared(folder, out, pattern=PATTERN):
    data_set = with_flags(DATA_SETS["folder"], {"pattern": pattern, "test_fraction": 1.0})
    return lay_out(data_set, folder, out)


def extracted(out, result):
    """Write a result whose features tell the people apart."""
    sets: list[FeatureSet] = []
    for split in ("query", "gallery"):
        found = read_split(out, split)
        features = np.eye(len(PEOPLE) + 1)[found.labels]
        sets.append(FeatureSet(features, found.labels, found.cameras, list(map(str, found.paths))))
    query, gallery = sets
    save_result(result, query, gallery)
    return result


@pytest.fixture
def layout(tmp_path):
    prepared(photograph(tmp_path / "crops"), tmp_path / "out")
    return tmp_path / "out"


def test_a_table_beside_the_layout_says_which_word_has_which_number(layout):
    with (layout / FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["kind"], int(row["number"])): row["name"] for row in rows}
    assert found == {
        **{("identity", number): who for number, who in enumerate(PEOPLE, 1)},
        **{("camera", number): camera for number, camera in enumerate(CAMERAS, 1)},
    }
    gallery = read_split(layout, "gallery")
    words = words_beside(gallery.paths[0])
    assert {words.identity(label) for label in gallery.labels} == set(PEOPLE)
    assert {words.camera(camera) for camera in gallery.cameras} == set(CAMERAS)
    assert words.identity(99) == "0099"
    assert words.camera(9) == "9"


def test_words_that_others_write_for_nothing_are_names_in_our_table(tmp_path):
    people, cameras = ("Ana", "NA", "None"), ("EU", "NA")
    prepared(photograph(tmp_path / "crops", people, cameras), tmp_path / "out")
    words = read_words(tmp_path / "out")
    assert [words.identity(number) for number in (1, 2, 3)] == [*people]
    assert [words.camera(number) for number in (1, 2)] == [*cameras]


def test_numbers_need_no_table(tmp_path):
    out = tmp_path / "out"
    prepared(photograph(tmp_path / "crops", ("7", "8", "9", "0012"), ("1", "2")), out)
    assert not (out / FILE).exists()
    assert read_words(out) == NUMBERS


def test_a_corrected_layout_keeps_the_words(tmp_path, layout):
    place = next(iter(sorted((layout / "gallery").rglob("*.jpg")))).relative_to(layout).as_posix()
    table = tmp_path / "corrections.csv"
    table.write_text(
        f"path,identity,proposal,new_identity,probability,accept\n{place},1,move,2,0.9,yes\n"
    )
    lay_out(corrected(str(table)), layout, tmp_path / "corrected")
    assert read_words(tmp_path / "corrected") == read_words(layout) != NUMBERS


def test_somebody_elses_file_of_that_name_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / FILE).write_text("mine\n")
    with pytest.raises(UserError, match=r"names\.csv: prepare\.py would write .* Move it"):
        prepared(photograph(tmp_path / "crops"), out)
    assert [path.name for path in out.iterdir()] == [FILE]
    assert (out / FILE).read_text() == "mine\n"
    assert read_words(out) == NUMBERS


def test_a_damaged_table_is_named(layout):
    (layout / FILE).write_text("kind,number,name\nidentity,first,anna\n")
    with pytest.raises(UserError, match=r"names\.csv, line 2: number 'first'"):
        read_words(layout)


def test_rankings_tables_and_pages_show_the_words(tmp_path, layout, capsys):
    result = extracted(layout, tmp_path / "result.mat")
    words = ["--query_index", "0", "--result", str(result), "--save", str(tmp_path / "show.png")]
    for moved in (False, True):
        demo.main([*words, *(["--test_dir", str(layout)] if moved else [])])
        printed = capsys.readouterr().out
        assert "query 0: identity P103, camera entrance  " in printed
        assert "   1  right  P103  camera hall, left  1.0000  " in printed
        if not moved:
            layout = layout.rename(tmp_path / "elsewhere")
    layout = layout.rename(tmp_path / "out")

    query, gallery = load_result(result, paths=True)
    metrics = evaluate(query, gallery)
    save_per_query(str(tmp_path / "queries.csv"), query, metrics)
    with (tmp_path / "queries.csv").open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["identity"], first["identity_name"]) == ("1", "P103")
    assert (first["camera"], first["camera_name"]) == ("1", "entrance")
    for by, word in (("cameras", "entrance-hall, left"), ("identities", "P103")):
        evaluate_script.main(["--by", by, "--result", str(result)])
        assert f"| {word} |" in capsys.readouterr().out

    page = report.metrics_section(report.Tested(query, gallery, {"single": metrics}))
    assert all(f"camera {camera}" in page for camera in CAMERAS)


def test_the_explorer_shows_the_words_and_its_lists_keep_the_numbers(tmp_path, layout):
    images = images_of(*load_result(extracted(layout, tmp_path / "result.mat"), paths=True))
    explorer = describe_images(images)
    assert set(explorer["people"]) == set(PEOPLE)
    assert set(explorer["cameras"]) == set(CAMERAS)

    line = (images.short_paths[0], "1", "move", "2", "0.9", "")
    write_csv(tmp_path / "list.csv", CORRECTION_COLUMNS, [line])
    (proposal,) = describe_proposals(images, tmp_path / "list.csv")["proposals"]
    assert (proposal["own"], proposal["new"]) == PEOPLE[:2]
    assert proposal["lines"][0][1:4] == (1, "move", 2)
    shown = {images.people[place] for place, _ in proposal["strips"]["new"]}
    assert shown == {PEOPLE[1]}


def test_words_have_the_marks_of_numbers():
    words = Words({"camera": {2: "entrance"}})
    assert (words.camera_mark(2), words.camera_mark(3)) == ("entrance", "c3")
