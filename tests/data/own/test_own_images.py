"""Data sets of one's own: folders and lists, words for numbers, odd names, split or not."""

from pathlib import Path

import numpy as np
import pytest

import prepare
from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import find_data_set, with_flags
from person_reid.data.layout import read_split
from person_reid.data.own.folder_or_list import draw_split, own_csv, own_folder, with_queries
from person_reid.data.prepare import file_names, lay_out, numbers_of
from person_reid.data.readers import Picture, draw_identities, images_below, meant
from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet
from tests.data.conftest import write_image, write_images
from tests.data.test_prepare import names, state

PATTERN = r"(?P<id>\d+)_c(?P<camera>\d+)"


def named(splits):
    """The files of splits, by their names in a layout."""
    return file_names(splits, numbers_of(splits))


def laid_out(folder, **flags):
    """{split: names} of an own folder or list that is laid out into `out` beside it.

    The original must stay as it is.
    """
    data_set = with_flags(DATA_SETS["csv" if "csv" in flags else "folder"], flags)
    out = folder.parent / "out"
    before = state(folder)
    lay_out(data_set, folder, out)
    made = state(out)
    assert set(lay_out(data_set, folder, out)) == {"kept"}
    assert state(out) == made
    assert state(folder) == before
    return {split.name: names(split) for split in out.iterdir() if split.is_dir()}


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    write_images(
        folder,
        (f"{who}_c{camera}_{i}.jpg" for who in range(1, 9) for camera in (2, 11) for i in "ab"),
    )
    return folder


def test_drawn_split_has_other_people_in_training_and_test(crops):
    splits = laid_out(crops, pattern=PATTERN, test_fraction=0.25, seed=3)
    people = {split: {name.split("/")[0] for name in found} for split, found in splits.items()}
    assert len(people["train_all"]) == 6
    assert len(people["gallery"]) == 2
    assert people["train"] == people["val"] == people["train_all"]
    assert people["query"] == people["gallery"]
    assert not people["train_all"] & people["gallery"]
    who = sorted(people["gallery"])
    assert splits["query"] == [
        f"{w}/{w}_c{camera}_{int(w)}_c{camera}_a.jpg" for w in who for camera in (11, 2)
    ]
    assert len(splits["gallery"]) == 8
    assert read_split(crops.parent / "out", "gallery").cameras.tolist() == [11, 11, 2, 2] * 2


@pytest.mark.parametrize(
    ("fraction", "splits"), [(0, {"train", "val", "train_all"}), (1, {"query", "gallery"})]
)
def test_a_test_fraction_of_0_or_1_leaves_out_a_side(crops, fraction, splits, capsys):
    prepare.main(["--data_dir", str(crops), "--pattern", PATTERN, "--test_fraction", str(fraction)])
    assert {path.name for path in (crops / "pytorch").iterdir() if path.is_dir()} == splits
    assert "8" in capsys.readouterr().out


def test_default_place_is_no_part_of_the_next_run(crops, capsys):
    command = ["--data_dir", str(crops), "--pattern", PATTERN]
    prepare.main(command)
    made = state(crops)
    prepare.main(command)
    assert state(crops) == made
    assert "kept" in capsys.readouterr().out.rpartition("->")[2]
    with pytest.raises(UserError, match="crops with other images or options. Delete it first"):
        prepare.main([*command, "--seed", "1"])
    assert state(crops) == made
    assert len(images_below(crops)) == 32
    with pytest.raises(UserError, match="would mix with the download"):
        prepare.main([*command, "--save_dir", str(crops)])


def test_odd_names_are_read(tmp_path):
    folder = tmp_path / "crops"
    odd = [
        "anna/holiday 1.PNG",
        "anna/größe.JPeG",
        "anna/人.webp",
        "bob/1.bmp",
        "bob/1.jpg",
        "bob/sub/1.jpg",
        "bob/1.JPG",
    ]
    write_images(folder, [*odd, ".hidden/x/1.jpg", "anna/._1.jpg"])
    (folder / "anna" / "notes.txt").write_text("not an image")
    splits = laid_out(folder, pattern=r"^(?P<id>[^/]+)/", test_fraction=0.0)
    assert splits["train_all"] == [
        "0001/0001_c1_größe.JPeG", "0001/0001_c2_holiday 1.PNG", "0001/0001_c3_人.webp",
        "0002/0002_c4_1.JPG", "0002/0002_c5_1.bmp", "0002/0002_c6_1.jpg", "0002/0002_c7_1.jpg",
    ]  # fmt: skip


def test_names_do_not_collide_and_say_what_they_mean():
    stems = ["1/a", "1/A", "2/a", "0007_c3_x", "7_c3", "b\\c:d", "0007_c31_x", "ü" * 200]
    stems += ["x" + "ü" * 200]  # whose 180th byte is half of a letter
    sources = [Path(f"{stem}.jpg") for stem in stems]
    found = named({"train_all": [Picture(source, "7", "3") for source in sources]})["train_all"]
    whole = ["a", "A_2", "a_3", "x", "7_c3", "b_c_d", "0007_c31_x"]
    assert list(found)[:7] == [f"0007/0007_c3_{stem}.jpg" for stem in whole]
    assert list(found.values()) == sources
    for long in list(found)[7:]:
        assert len(long.encode()) < 220
        assert long.endswith("ü.jpg")


def numbered(*identities, zero_is_nobody=False):
    pictures = [Picture(Path(f"{i}.jpg"), identity, "1") for i, identity in enumerate(identities)]
    pictures = [meant(picture, zero_is_nobody) for picture in pictures]
    return [target.split("/")[0] for target in named({"gallery": pictures})["gallery"]]


def test_identities_are_numbered_by_their_words():
    market = numbered("0", "-1", "12", "00012", zero_is_nobody=True)
    assert market == ["0000", "-1", "0012", "0012"]
    assert numbered("0", "-1", "12", "00012", "nan") == ["0001", "-1", "0013", "0013", "0000"]
    assert numbered("1", "12") == ["0001", "0012"]
    assert numbered("bob", "anna", "Unknown", "-1", "7") == ["0003", "0002", "0000", "-1", "0001"]
    assert numbered("99999", "9" * 30) == ["0001", "0002"]
    assert numbered("99999", "3") == ["99999", "0003"]


def test_folders_of_splits_are_taken_as_they_are(tmp_path):
    folder = tmp_path / "crops"
    write_images(
        folder,
        ["train/1_c1.jpg", "val/1_c2.jpg", "query/5_c1.jpg", "test/5_c2.jpg", "test/nan_c1.jpg"],
    )
    splits = laid_out(folder, pattern=r"(?P<id>\w+)_c(?P<camera>\d+)")
    assert splits["train_all"] == ["0001/0001_c1_1_c1.jpg", "0001/0001_c2_1_c2.jpg"]
    assert splits["query"] == ["0005/0005_c1_5_c1.jpg"]
    assert splits["gallery"] == ["0000/0000_c1_nan_c1.jpg", "0005/0005_c2_5_c2.jpg"]
    with pytest.raises(UserError, match="seed would be ignored: .* has a folder train"):
        laid_out(folder, pattern=PATTERN, seed=2)
    write_image(folder / "train" / "somebody.jpg")
    with pytest.raises(
        UserError, match=r"1 name\(s\) without a match of the pattern(?s:.*)somebody"
    ):
        laid_out(folder, pattern=PATTERN)


def test_folders_of_identities_below_folders_of_splits_are_read(tmp_path):
    folder = tmp_path / "crops"
    write_images(
        folder, ["train/anna/1.jpg", "train/bob/1.jpg", "gallery/carl/1.jpg", "gallery/carl/2.jpg"]
    )
    splits = laid_out(folder, pattern="(?P<id>[^/]+)/")
    assert splits["train_all"] == ["0001/0001_c3_1.jpg", "0002/0002_c4_1.jpg"]
    assert splits["query"] == splits["gallery"] == ["0003/0003_c1_1.jpg", "0003/0003_c2_2.jpg"]


def test_a_list_with_every_column_is_laid_out(tmp_path):
    folder = tmp_path / "crops"
    write_images(folder, ["a b.jpg", "ü/1.png", "q.jpg", "g.jpg"])
    text = (
        "path,identity,camera,split\na b.jpg,anna,door,train\n"
        "ü/1.png,anna,hall,val\nq.jpg,bob,door,query\n"
    )
    (tmp_path / "list.csv").write_text(text + "g.jpg, bob ,hall,Gallery\n", encoding="utf-8-sig")
    splits = laid_out(folder, csv=str(tmp_path / "list.csv"))
    assert splits["train_all"] == ["0001/0001_c1_a b.jpg", "0001/0001_c2_1.png"]
    assert splits["query"] == ["0002/0002_c1_q.jpg"]
    assert splits["gallery"] == ["0002/0002_c2_g.jpg"]


def test_list_without_splits_and_cameras_lies_beside_its_images(tmp_path, capsys):
    write_images(tmp_path, [f"{number}.jpg" for number in range(6)])
    rows = [f"{number}.jpg,{'anna' if number < 3 else 'bob'}" for number in range(6)]
    (tmp_path / "list.csv").write_text("\n".join(["path,identity", *rows]))
    prepare.main(["--csv", str(tmp_path / "list.csv")])
    gallery = read_split(tmp_path / "pytorch", "gallery")
    assert len(gallery) == 3
    assert len(set(gallery.cameras.tolist())) == 3
    assert names(tmp_path / "pytorch" / "query") == names(tmp_path / "pytorch" / "gallery")
    assert "your" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,who\n1.jpg,anna\n",
            "expected the columns path,identity,camera,split,clothes .* found file, who",
        ),
        (
            "file;who\n1.jpg;anna\n",
            "expected the columns path,identity,camera,split,clothes .* found file, who",
        ),
        ("", "found no lines"),
        ("path,identity,split\n1.jpg,anna,tarin\n", "line 2: expected a path and a split of train"),
        ("path,identity\n1.jpg,\n", r"it holds no people, only junk \(-1\) and distractors\."),
        (
            "path,identity\n1.jpg,anna\nnone.jpg,anna\n",
            r"1 image\(s\) listed but not in .*\n.*none.jpg",
        ),
        ("path,identity\n1.jpg,anna\n1.jpg,bob\n", r"1\.jpg: anna, bob"),
        pytest.param(
            "path,identity\n" + "a" * 200_000 + ",1\n", "not readable as CSV", id="a long field"
        ),
        ("path,identity\na\0.jpg,1\n", "zero byte|contains NUL"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(tmp_path, text, message):
    write_image(tmp_path / "1.jpg")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        prepare.main(["--csv", str(tmp_path / "list.csv")])
    assert not (tmp_path / "pytorch").exists()


def test_flags_that_are_missing_wrong_or_ignored_are_refused(crops, tmp_path):
    refused = {
        "pattern must say where": ["--dataset", "folder"],
        "name the folder with data_dir": ["--pattern", PATTERN],
        "not a regular expression": ["--pattern", "(", "--data_dir", crops],
        "expected the named group id": ["--pattern", r"(?P<identity>\d+)", "--data_dir", crops],
        "csv=FILE": ["--dataset", "csv", "--data_dir", crops],
        "no such file|No such file": ["--csv", tmp_path / "none.csv"],
        "pattern, seed would be ignored: Market-1501": [
            "--dataset",
            "market",
            "--pattern",
            "x",
            "--seed",
            "1",
        ],
        "exclude each other": ["--synthetic", "--pattern", PATTERN],
    }
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        write_image(crops.parent / "market" / folder / "0001_c1s1_1.jpg")
    for message, flags in refused.items():
        if "market" in flags:
            flags = [*flags, "--data_dir", crops.parent / "market"]
        elif flags == ["--dataset", "folder"]:
            flags = [*flags, "--data_dir", crops]
        with pytest.raises((UserError, FileNotFoundError), match=message):
            prepare.main(list(map(str, flags)))


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--test_fraction", "2", "from 0 to 1"),
        ("--min_visibility", "2", "from 0 to 1"),
        ("--frame_stride", "0", "above 0"),
    ],
)
def test_numbers_out_of_range_are_refused_by_the_parser(flag, value, expected, capsys):
    with pytest.raises(SystemExit):
        prepare.main([flag, value])
    said = f"argument {flag}: {value}: expected a number {expected}"
    assert said in capsys.readouterr().err


def test_nothing_is_fetched_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "fetch_data_set", lambda *_: pytest.fail("fetched"))
    with pytest.raises((UserError, FileNotFoundError)):
        prepare.main(["--dataset", "market", "--data_dir", str(tmp_path)])


def test_own_folders_are_never_guessed(crops):
    with pytest.raises(UserError, match="or those of another data set of docs/datasets.md"):
        find_data_set(crops)


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_numbers_with_zeros_in_front_are_the_same_person_and_the_same_camera(kind, tmp_path):
    views = [("7", "1"), ("07", "2"), ("0007", "01"), ("8", "1"), ("08", "01")]
    images = [
        f"{identity}_c{camera}_{number}.jpg" for number, (identity, camera) in enumerate(views)
    ]
    write_images(tmp_path / "crops", images)
    rows = [
        f"{name},{identity},{camera}"
        for name, (identity, camera) in zip(images, views, strict=True)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,identity,camera", *rows]))

    def read(fraction):
        if kind == "csv":
            return own_csv(tmp_path / "crops", tmp_path / "list.csv", fraction)
        return own_folder(tmp_path / "crops", PATTERN, fraction)

    asked = [(picture.identity, picture.camera) for picture in read(1)["query"]]
    assert sorted(asked) == [("7", "1"), ("7", "2")]
    assert {picture.identity for picture in read(0)["train_all"]} == {"7", "8"}


def test_a_test_needs_somebody_whom_two_cameras_see():
    pictures = [
        Picture(Path(name), name[:-1], camera)
        for name, camera in (("anna1", "1"), ("anna2", "1"), ("bob1", "2"))
    ]
    with pytest.raises(UserError, match="nobody to test on is seen by two cameras"):
        with_queries({"gallery": pictures})


def test_images_of_one_camera_are_for_training_alone(tmp_path, capsys):
    write_images(tmp_path, [f"{who}_c1_{i}.jpg" for who in (1, 2, 3) for i in range(2)])
    words = ["--data_dir", str(tmp_path), "--pattern", PATTERN]
    with pytest.raises(UserError, match="To train without a test: --test_fraction 0"):
        prepare.main(words)
    prepare.main([*words, "--test_fraction", "0"])
    assert "Next: python train.py" in capsys.readouterr().out
    assert len(read_split(tmp_path / "pytorch", "train_all")) == 6


def test_images_of_one_camera_that_are_split_already_are_not_told_a_flag_of_the_drawn_split(
    tmp_path,
):
    write_images(
        tmp_path,
        [f"{part}_c1_{i}.jpg" for part in ("train/1", "train/2", "test/3") for i in range(2)],
    )
    with pytest.raises(
        UserError, match="To train without a test: take the test images out of the folder"
    ):
        own_folder(tmp_path, PATTERN)
    rows = [
        f"{part}_c1_{i}.jpg,{part[-1]},1,{part[:-2]}"
        for part in ("train/1", "test/3")
        for i in range(2)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,identity,camera,split", *rows]))
    with pytest.raises(
        UserError, match="To train without a test: take the lines of test images out of the list"
    ):
        own_csv(tmp_path, tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("fraction", "line"),
    [
        (0.01, "--test_fraction 0.01 of 8 people is nobody, so there is nothing to test on."),
        (0.99, "--test_fraction 0.99 of 8 people is everybody, so there is nothing to train on."),
        (0, ""), (0.5, ""), (1, ""),
    ],
)  # fmt: skip
def test_a_fraction_that_rounds_to_nobody_is_said_in_one_line(crops, fraction, line, caplog):
    own_folder(crops, PATTERN, fraction)
    assert caplog.messages == ([line] if line else [])


def written(folder, kind, *splits):
    """The flags to read two images of each of two people in these splits.

    They are written as a folder or as a list.
    """
    names = [
        f"{split}/{who}_c{camera}.jpg" for split in splits for who in (1, 2) for camera in (1, 2)
    ]
    write_images(folder, names)
    if kind == "folder":
        return ["--data_dir", str(folder), "--pattern", PATTERN]
    rows = [f"{name},{name.split('/')[1][0]},{name[-5]},{name.split('/')[0]}" for name in names]
    (folder / "list.csv").write_text("\n".join(["path,identity,camera,split", *rows]))
    return ["--csv", str(folder / "list.csv")]


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_half_a_test_set_is_said_in_one_line(tmp_path, kind, caplog):
    flags = written(tmp_path / "half", kind, "train", "query")
    prepare.main(flags)
    line = (
        f"{tmp_path / 'half'}: query without gallery, so there is nothing to test on. "
        "Add the gallery images, and run"
    )
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(line)
    assert names(tmp_path / "half" / "pytorch" / "query")
    with pytest.raises(
        UserError,
        match="query without gallery, so there is nothing to test on, and nothing to train",
    ):
        prepare.main(written(tmp_path / "alone", kind, "query"))
    prepare.main(written(tmp_path / "gallery", kind, "gallery"))  # its queries are drawn
    assert names(tmp_path / "gallery" / "pytorch" / "query")
    assert len(caplog.messages) == 1


def test_junk_and_distractors_are_neither_trained_on_nor_asked_nor_a_test_alone(tmp_path):
    pictures = [
        Picture(tmp_path / f"{who}{camera}", who, camera)
        for who in ("-1", "unknown", "1", "2")
        for camera in "12"
    ]
    for seed in range(4):
        splits = draw_split(pictures, 0.5, seed)
        assert {picture.identity for picture in splits["gallery"]} >= {"-1", "unknown"}
        assert len({picture.identity for picture in splits["train_all"]} & {"1", "2"}) == 1
        assert {picture.identity for picture in splits["query"]} < {"1", "2"}
    splits = draw_split(pictures, 0)
    assert splits.keys() == {"train_all"}
    assert {picture.identity for picture in splits["train_all"]} == {"1", "2"}


def test_images_without_cameras_find_the_others_and_never_themselves(tmp_path):
    """Rank@1 is 0 if the only feature of an image is one that it alone has."""
    for number in range(8):
        write_image(tmp_path / ("anna" if number % 2 else "bob") / f"{number}.jpg", number)
    prepare.main(
        ["--data_dir", str(tmp_path), "--pattern", "(?P<id>[^/]+)/", "--test_fraction", "1"]
    )
    split = read_split(tmp_path / "pytorch", "gallery")
    query = read_split(tmp_path / "pytorch", "query")
    assert [path.name for path in query.paths] == [path.name for path in split.paths]
    by_identity = np.eye(3, dtype=np.float32)[split.labels]
    asked, among = (
        FeatureSet(by_identity, found.labels, found.cameras, list(map(str, found.paths)))
        for found in (query, split)
    )
    assert evaluate(asked, among).mAP == 1
    alone = np.where(
        np.eye(8, dtype=bool), 1.0, 0.1 * (split.labels[:, None] != split.labels)
    ).astype(np.float32)
    metrics = evaluate(asked, among, scores=lambda start, stop: alone[start:stop].copy())
    assert metrics.rank(1) == 0
    assert metrics.mAP > 0


def test_a_seed_draws_the_same_on_every_machine():
    assert draw_identities({str(number) for number in range(30)}, 0.2, 0) == {
        "10",
        "12",
        "18",
        "19",
        "28",
        "6",
    }


def test_clothes_of_a_list_and_tracklets_of_a_pattern_are_in_the_names(tmp_path):
    images = ["anna 1.jpg", "anna 2.jpg", "bo 1.jpg", "bo 2.jpg", "stranger.jpg"]
    write_images(tmp_path, images)
    rows = ["anna,1,red,query", "anna,2,blue,gallery", "bo,1,red,query", "bo,2,red,gallery"]
    lines = [f"{name},{row}" for name, row in zip(images, [*rows, ",3,,gallery"], strict=True)]
    (tmp_path / "list.csv").write_text(
        "path,identity,camera,clothes,split\n" + "\n".join(lines) + "\n"
    )
    data_set = with_flags(DATA_SETS["csv"], {"csv": tmp_path / "list.csv"})
    lay_out(data_set, tmp_path, tmp_path / "out")
    assert names(tmp_path / "out" / "query") == [
        "0001/0001_c1o2_anna 1.jpg", "0002/0002_c1o2_bo 1.jpg",
    ]  # fmt: skip
    assert names(tmp_path / "out" / "gallery") == [
        "0000/0000_c3_stranger.jpg", "0001/0001_c2o1_anna 2.jpg", "0002/0002_c2o2_bo 2.jpg",
    ]  # fmt: skip

    pattern = r"^(?P<id>\w+) (?P<camera>(?P<track>\d))"
    (tmp_path / "stranger.jpg").unlink()
    data_set = with_flags(DATA_SETS["folder"], {"pattern": pattern, "test_fraction": 1.0})
    lay_out(data_set, tmp_path, tmp_path / "tracks")
    assert "0001/0001_c2t2_anna 2.jpg" in names(tmp_path / "tracks" / "gallery")


def test_an_image_in_two_sets_of_clothes_is_refused(tmp_path):
    write_image(tmp_path / "1.jpg")
    (tmp_path / "list.csv").write_text("path,identity,clothes\n1.jpg,1,red\n1.jpg,1,blue\n")
    with pytest.raises(UserError, match=r"1\.jpg: clothes blue, clothes red"):
        own_csv(tmp_path, tmp_path / "list.csv")
