"""Corrections of labels: a layout with what a list accepts, beside one that stays as it is."""

import os
import shutil

import pytest

import prepare
from person_reid.data.layout import read_split
from person_reid.data.own.corrections import CORRECTION_COLUMNS, read_corrected
from person_reid.errors import UserError
from tests.data.conftest import write_image
from tests.data.test_prepare import names, state

HEAD = ",".join(CORRECTION_COLUMNS) + "\n"
FIRST = "train_all/0002/0002_c1s1_000451_03.jpg,2,"


@pytest.fixture
def layout(download, capsys):
    prepare.main(["--data_dir", str(download)])
    capsys.readouterr()
    return download / "pytorch"


def correct(layout, lines, *more):
    file = layout.parent / "list.csv"
    file.write_text(HEAD + lines, encoding="utf-8")
    prepare.main(["--data_dir", str(layout), "--corrections", str(file), *more])
    return layout.parent / "pytorch_corrected"


def test_what_is_accepted_is_applied_beside_the_layout(layout, capsys):
    before, whole = state(layout), state(layout.parent)
    lines = [
        FIRST + "move,7,0.9,yes",
        "train_all/0002/0002_c1s1_000551_01.jpg,2,junk,-1,0.8,Y",
        "train_all/0007/0007_c3s1_000451_03.JPG,7,split,12,0.6,",
        "train_all/0011/0011_c6s1_000451_03.jpg.jpg,11,merge,7,0.6,no",
        "gallery/0000/0000_c4s1_000401_03.jpg,0,somebody,1,0.97,1",
    ]
    out = correct(layout, "\n".join(lines) + "\n")
    assert state(layout) == before
    assert {
        path: content for path, content in state(layout.parent).items() if path in whole
    } == whole
    moved = "0007/0007_c1_0002_c1s1_000451_03.jpg"
    assert names(out / "train_all") == sorted(
        set(names(layout / "train_all"))
        - {line.split(",")[0].partition("/")[2] for line in lines[:2]}
        | {moved}
    )
    assert sorted({*names(out / "train"), *names(out / "val")}) == names(out / "train_all")
    train = read_split(out, "train_all")
    where = [path.name for path in train.paths].index(moved.partition("/")[2])
    assert (train.labels[where], train.cameras[where]) == (7, 1)
    assert "0001/0001_c4_0000_c4s1_000401_03.jpg" in names(out / "gallery")
    assert names(out / "query")
    assert "train.py" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"with other images or .* \(rm -r .*_corrected\)"):
        correct(layout, FIRST + "move,11,0.9,yes\n")  # another list, the same place
    assert moved in names(out / "train_all")
    shutil.rmtree(out)
    correct(layout, FIRST + "move,11,0.9,yes\n")
    assert "0011/0011_c1_0002_c1s1_000451_03.jpg" in names(out / "train_all")
    assert moved not in names(out / "train_all")


def test_the_images_of_val_stay_there(layout):
    people = [sorted(folder.iterdir()) for folder in (layout / "train_all").iterdir()]
    *_, last = max(people, key=len)
    place = last.relative_to(layout / "train_all")
    assert not (layout / "val" / place).exists()
    os.link(last, layout / "val" / place)
    out = correct(layout, "train_all/0007/0007_c3s1_000451_03.JPG,7,junk,-1,0.9,yes\n")
    assert place.as_posix() in names(out / "val")
    assert place.as_posix() in names(out / "train_all")


def test_the_layout_may_be_the_folder_one_is_in(layout, monkeypatch):
    (layout.parent / "list.csv").write_text(HEAD + FIRST + "move,7,0.9,yes\n")
    monkeypatch.chdir(layout)
    before = state(layout)
    prepare.main(["--data_dir", ".", "--corrections", "../list.csv"])
    assert state(layout) == before
    assert (layout.parent / "pytorch_corrected" / "train_all").is_dir()


def test_what_is_said_of_a_person_in_the_gallery_holds_for_the_queries(layout):
    """A correction of a person moves all queries, or those by the camera it is about.

    A query that becomes junk is left out; in the gallery it stays.
    """
    gallery, query, multi = (
        read_split(layout, split) for split in ("gallery", "query", "multi-query")
    )
    for kind in ("merge", "split"):
        camera = int(gallery.cameras[gallery.labels == 1][0]) + 1
        theirs = [
            path
            for path, label, by in zip(gallery.paths, gallery.labels, gallery.cameras, strict=True)
            if label == 1 and (kind == "merge" or by + 1 == camera)
        ]
        lines = [f"{path.relative_to(layout).as_posix()},1,{kind},99,0.9,yes" for path in theirs]
        corrected = correct(layout, "\n".join(lines) + "\n")
        for split, before in (("query", query), ("multi-query", multi), ("gallery", gallery)):
            moved = (before.labels == 1) & ((before.cameras + 1 == camera) | (kind == "merge"))
            found = read_split(corrected, split)
            assert (found.labels == 99).sum() == moved.sum(), (kind, split)
            assert (found.labels == 1).sum() == (before.labels == 1).sum() - moved.sum()
        shutil.rmtree(corrected)
    junk = [
        f"{split.paths[0].relative_to(layout).as_posix()},{split.labels[0]},junk,-1,0.9,yes"
        for split in (query, multi)
    ]
    corrected = correct(layout, "\n".join(junk) + "\n")
    assert [len(names(corrected / split)) for split in ("query", "multi-query")] == [
        len(query) - 1,
        len(multi) - 1,
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),  # the last answer is the query's by camera 1 itself
    [
        (("yes", "yes", "yes"), {"1": 99, "2": 99}),
        (("yes", "no", "yes"), {"1": 1, "2": 1}),
        (("yes", "", ""), {"1": 1, "2": 1}),
        (("yes", "yes", "yes", "no"), {"1": 1, "2": 99}),
    ],
)
def test_queries_follow_only_a_whole_person(answers, expected, tmp_path):
    gallery = [f"gallery/0001/0001_{name}.png" for name in ("c1_a", "c1_b", "c2_c")]
    listed = [*gallery, "query/0001/0001_c1_q.png"]
    for place in (*listed, "query/0001/0001_c2_q.png"):
        write_image(tmp_path / place)
    lines = [
        f"{place},1,merge,99,0.9,{answer}\n" for place, answer in zip(listed, answers, strict=False)
    ]
    (tmp_path / "list.csv").write_text(HEAD + "".join(lines))
    found = read_corrected(tmp_path, tmp_path / "list.csv")
    assert {str(picture.camera): int(picture.identity) for picture in found["query"]} == expected
    assert [int(picture.identity) == 99 for picture in found["gallery"]] == [
        each == "yes" for each in answers[:3]
    ]


def test_junk_stays_in_the_gallery_and_more_comes_to_it(tmp_path):
    images = ["gallery/-1/-1_c1_a.png", "gallery/0001/0001_c1_b.png", "gallery/0001/0001_c2_c.png"]
    for place in (*images, "query/0001/0001_c1_q.png"):
        write_image(tmp_path / place)
    (tmp_path / "list.csv").write_text(f"{HEAD}{images[1]},1,junk,-1,0.9,yes\n")
    found = read_corrected(tmp_path, tmp_path / "list.csv")
    assert sorted(int(picture.identity) for picture in found["gallery"]) == [-1, -1, 1]


def test_junk_that_was_there_before_is_no_person_to_train_on(layout):
    (layout / "train_all" / "-1").mkdir()
    shutil.copy(
        layout / FIRST.partition(",")[0], layout / "train_all" / "-1" / "-1_c1s1_000001_00.jpg"
    )
    assert "-1" not in read_split(correct(layout, FIRST + "move,7,0.9,yes\n"), "train_all").classes


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "train_all/0002/gone.jpg,2,move,7,0.9,yes\n",
            r"line 2: there is no image train_all/0002/gone\.jpg",
        ),
        ("../0002_c1s1_000451_03.jpg,2,move,7,0.9,yes\n", "line 2: there is no image"),
        (
            "train/0002/0002_c1s1_000551_01.jpg,2,move,7,0.9,yes\n",
            "line 2: there is no image train/",
        ),
        (
            FIRST.replace(",2,", ",3,") + "move,7,0.9,yes\n",
            "has identity 2, not 3: this list is of another layout",
        ),
        (FIRST + "delete,7,0.9,yes\n", "proposal 'delete': expected one of move, junk"),
        (FIRST + "move,7,0.9,perhaps\n", "accept 'perhaps': expected yes, no"),
        (FIRST + "move,2,0.9,yes\n", "new_identity '2': expected the number of another person"),
        (FIRST + "move,-1,0.9,yes\n", "new_identity '-1'"),
        (FIRST + "junk,7,0.9,yes\n", "new_identity '7': expected -1"),
        (FIRST + "move,../7,0.9,yes\n", "new_identity '../7'"),
        (FIRST + "move\n", "new_identity ''"),
        (
            FIRST + "move,7,0.9,yes\n" + FIRST + "move,11,0.9,yes\n",
            "line 3: .* is to be 11 here and 7 above",
        ),
        (FIRST + "move,7,0.9,\n", "no correction is accepted"),
        ("", "nothing is listed below the first line"),
    ],
)
def test_a_list_that_cannot_be_applied_is_refused(layout, lines, problem):
    before = state(layout.parent)
    with pytest.raises(UserError, match=problem) as refusal:
        correct(layout, lines)
    assert "\n" not in str(refusal.value)
    (layout.parent / "list.csv").unlink()
    assert state(layout.parent) == before


def test_broken_files_and_flags_that_mean_nothing_are_refused(layout, tmp_path):
    file = layout.parent / "list.csv"
    for content, problem in (
        (b"caf\xe9", "not UTF-8"),
        (b"path,identity\na,1\n", "expected the columns"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=problem):
            prepare.main(["--data_dir", str(layout), "--corrections", str(file)])
    file.write_text(HEAD + FIRST + "move,7,0.9,yes\n")
    with pytest.raises(UserError, match="needs data_dir"):
        prepare.main(["--corrections", str(file)])
    for flags in (
        ["--dataset", "market"],
        ["--synthetic"],
        ["--seed", "1"],
        ["--pattern", "(?P<id>.)"],
    ):
        with pytest.raises(UserError, match="give no option beside it"):
            prepare.main(["--data_dir", str(layout), "--corrections", str(file), *flags])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected a layout"):
        prepare.main(["--data_dir", str(tmp_path / "empty"), "--corrections", str(file)])
    with pytest.raises(UserError, match="mix with the download"):
        prepare.main(
            ["--data_dir", str(layout), "--corrections", str(file), "--save_dir", str(layout)]
        )
