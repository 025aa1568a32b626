"""A file has one identity and one camera and is in training or test; junk is never trained on."""

import os
import signal
import sys
from functools import partial

import numpy as np
import pytest

import prepare
from person_reid.data.datasets import DATA_SETS, KnownDataSet
from person_reid.data.downloads import with_flags
from person_reid.data.layout import read_split, read_training_splits
from person_reid.data.own.folder_or_list import own_csv, own_folder
from person_reid.data.own.unlabelled import read_people
from person_reid.data.prepare import lay_out, people_only
from person_reid.data.readers import Picture, by_name
from person_reid.errors import UserError
from person_reid.gallery.metadata import about_images
from tests.data.conftest import write_image, write_images
from tests.data.test_prepare import names

PATTERN = r"(?P<id>\d+)_c(?P<camera>\d+)"
LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
SPELLINGS = {
    "the same path": "a/x.jpg",
    "a way around": "a/../a/x.jpg",
    "an absolute path": "{folder}/a/x.jpg",
    "a link": "link.jpg",
    "a folder that is a link": "b/x.jpg",
    "a hard link": "hard.jpg",
}
CONTRADICTIONS = {
    "two identities": ("8,1,train", "7, 8"),
    "two cameras": ("7,2,train", "camera 1, camera 2"),
    "a camera that is known once": ("7,,train", "camera 1, camera not known"),
    "training and test": ("7,1,gallery", "gallery, train_all"),
    "training and query": ("7,1,query", "query, train_all"),
}


def an_image_with_links(folder):
    image = write_image(folder / "a" / "x.jpg")
    (folder / "link.jpg").symlink_to("a/x.jpg")
    (folder / "b").symlink_to("a")
    os.link(image, folder / "hard.jpg")


def listed(folder, *rows):
    file = folder / "list.csv"
    file.write_text("\n".join(["path,identity,camera,split", *rows]))
    return file


@LINKS
@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize(("again", "problem"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_list_that_contradicts_itself_about_a_file_is_refused(again, problem, spelled, tmp_path):
    an_image_with_links(tmp_path)
    again_path = spelled.format(folder=tmp_path)
    file = listed(tmp_path, "a/x.jpg,7,1,train", f"{again_path},{again}")
    with pytest.raises(
        UserError, match=rf"(?s)list\.csv: expected one identity, one camera.*x\.jpg.*: {problem}"
    ):
        own_csv(tmp_path, file)


@LINKS
@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_a_file_that_is_listed_twice_is_taken_once(spelled, tmp_path, caplog):
    an_image_with_links(tmp_path)
    again_path = spelled.format(folder=tmp_path)
    file = listed(tmp_path, "a/x.jpg,7,1,train", f"{again_path},07,01,val")
    assert own_csv(tmp_path, file)["train_all"] == [Picture(tmp_path / "a" / "x.jpg", "7", "1")]
    assert caplog.messages == [
        f"{file}: 1 image listed again, under the same path or another, and taken once."
    ]


def test_a_query_may_be_in_the_gallery_where_it_is_junk_for_itself(tmp_path, caplog):
    write_images(tmp_path, ["x.jpg", "y.jpg"])
    file = listed(tmp_path, "x.jpg,7,,query", "./x.jpg,7,,gallery", "y.jpg,7,,gallery")
    splits = own_csv(tmp_path, file)
    assert [picture.source for picture in splits["query"]] == [tmp_path / "x.jpg"]
    prepare.main(["--csv", str(file)])
    query, gallery = (read_split(tmp_path / "pytorch", split) for split in ("query", "gallery"))
    assert query.cameras[0] in gallery.cameras
    assert len(set(gallery.cameras.tolist())) == 2
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert f"{file}: no camera for 3 of 3 images." in caplog.text


@LINKS
def test_a_folder_holds_a_file_for_training_or_for_testing(tmp_path):
    write_images(tmp_path, ["train/7_c1.jpg", "train/7_c2.jpg", "test/8_c1.jpg", "test/8_c2.jpg"])
    os.link(tmp_path / "train" / "7_c1.jpg", tmp_path / "test" / "7_c1.jpg")
    with pytest.raises(UserError, match="gallery, train_all"):
        own_folder(tmp_path, PATTERN)


KINDS = [name for name, known in DATA_SETS.items() if known.distractors]


@pytest.mark.parametrize("identity", ["-1", "unknown"])
@pytest.mark.parametrize("split", ["train_all", "query"])
def test_junk_and_distractors_are_neither_trained_on_nor_asked_for(
    split, identity, tmp_path, caplog
):
    people = [Picture(tmp_path / f"{who}.jpg", who, "1") for who in (identity, "1", "2")]
    found = people_only({split: people, "gallery": people}, tmp_path)
    assert found == {split: people[1:], "gallery": people}
    meaning = "junk (-1)" if identity == "-1" else "nobody who is known (distractors)"
    assert caplog.messages == [f"{tmp_path}: skipped in {split}: 1 image of {meaning}."]
    with pytest.raises(UserError, match="holds no people"):
        people_only({split: people[:1]}, tmp_path)


def of_kind(kind, folder):
    """Two people and nobody in each split, as a data set of this kind; the flags that read it."""
    images = [
        f"{part}/{who}_c{camera}s1_1.jpg"
        for part in ("bounding_box_train", "query", "bounding_box_test")
        for who in ("-1", "0000", "0001", "0002")
        for camera in (1, 2)
    ]
    write_images(folder, images)
    write_image(folder / "distractors_500k" / "0000_c1s1_5.jpg")
    (folder / "synthetic.json").touch()
    return ["--data_dir", str(folder), "--dataset", kind]


# mars has lists of its own, see test_tracklets.py.
@pytest.mark.parametrize("kind", [name for name in KINDS if name != "mars"])
def test_no_data_set_with_junk_trains_on_it(kind, tmp_path, caplog):
    prepare.main([*of_kind(kind, tmp_path / "data"), "--save_dir", str(tmp_path / "out")])
    people = {
        split: {name.split("/")[0] for name in names(tmp_path / "out" / split)}
        for split in ("train_all", "train", "val", "query", "gallery")
    }
    assert people.pop("gallery") == {"-1", "0000", "0001", "0002"}
    assert all(who == {"0001", "0002"} for who in people.values())
    assert sum("skipped in" in message for message in caplog.messages) == 2


def test_a_training_leaves_the_junk_of_a_layout_out(tmp_path, caplog):
    for root in ("one", "two"):
        write_images(
            tmp_path / root / "train_all",
            ["-1/-1_c1_a.jpg", "0001/0001_c1_a.jpg", "0002/0002_c1_a.jpg"],
        )
    splits = read_training_splits([tmp_path / "one", tmp_path / "two"], "train_all")
    for folder, split in splits:
        assert split.classes == ["0001", "0002"]
        assert split.targets.tolist() == [0, 1]
        assert split.labels.tolist() == [1, 2]
        assert len(split.paths) == 2
        assert (
            f"{folder}: 1 image of identity -1, which means junk, is not trained on."
            in caplog.messages
        )


@pytest.mark.parametrize("name", ["unknown", "Unknown", "", "nan", "None", "NA"])
def test_images_without_a_known_identity_are_distractors_and_not_one_person(name, tmp_path, caplog):
    write_images(tmp_path, [f"{i}.jpg" for i in range(6)])
    file = listed(
        tmp_path,
        f"0.jpg,{name},1,gallery",
        "1.jpg,Anna,Unknown,gallery",
        "2.jpg,Anna,1,gallery",
        "3.jpg,Anna,-1,gallery",
        "4.jpg,Bob,1,train",
        f"5.jpg,{name},1,train",
    )
    splits = own_csv(tmp_path, file)
    assert [(picture.identity, picture.camera) for picture in splits["gallery"]] == [
        ("unknown", "1"), ("Anna", None), ("Anna", "1"), ("Anna", None),
    ]  # fmt: skip
    assert "2 images without a known identity, taken for distractors." in caplog.text
    assert [picture.identity for picture in people_only(splits, tmp_path)["train_all"]] == ["Bob"]


@pytest.mark.parametrize("kind", ["folder", "csv", "a reader of one's own", "market"])
def test_what_0_and_minus_1_mean_is_one_rule(kind, tmp_path, caplog):
    """0 is a person, except in data sets numbered like Market-1501's; -1 is junk everywhere."""
    parts = {"train_all": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    images = {
        split: [f"{part}/{who}_c{c}s1_1.jpg" for who in ("-1", "0000", "nan", "0007") for c in "12"]
        for split, part in parts.items()
    }
    if kind == "market":
        images = {
            split: [name for name in found if "nan" not in name] for split, found in images.items()
        }
    write_images(tmp_path, [name for found in images.values() for name in found])
    pattern = r"(?P<id>[^/_]+)_c(?P<camera>\d)"
    if kind == "csv":
        rows = [
            f"{n},{n.split('/')[1].split('_')[0]},{n[-9]},{s}" for s, f in images.items() for n in f
        ]
        listed(tmp_path, *(row.replace(",train_all", ",train") for row in rows))
    data_set = {
        "folder": with_flags(DATA_SETS["folder"], {"pattern": pattern}),
        "csv": with_flags(DATA_SETS["csv"], {"csv": tmp_path / "list.csv"}),
        "market": DATA_SETS["market"],
    }.get(kind) or KnownDataSet(kind, "", "", partial(by_name, folders=parts, pattern=pattern))
    lay_out(data_set, tmp_path, tmp_path / "out")
    people = {"0007"} if kind == "market" else {"0001", "0008"}
    for split in parts:
        found = set(read_split(tmp_path / "out", split).classes)
        assert found == (people | {"-1", "0000"} if split == "gallery" else people)
    assert ("identity 0 is a person" in caplog.text) == (kind != "market")


def test_an_unknown_split_of_a_reader_is_refused_with_its_neighbours_name(tmp_path):
    data_set = KnownDataSet(
        "mine", "", "", lambda folder: {"querry": [Picture(folder / "1.jpg", "1")]}
    )
    with pytest.raises(UserError, match=r"returns a split 'querry'.*Did you mean 'query'\?"):
        lay_out(data_set, tmp_path, tmp_path / "out")


def test_a_name_in_two_spellings_is_one_person_and_another_case_is_said(tmp_path, caplog):
    names = ["Jos\u00e9", "Jose\u0301", " Eve", "Eve  ", "Anna", "anna"]
    write_images(tmp_path, [f"{who}/{i}.jpg" for who in names for i in "12"])
    splits = own_folder(tmp_path, "(?P<id>[^/]+)/", 1)
    people = dict.fromkeys(("José", "Eve", "Anna", "anna"), 0)
    for picture in splits["gallery"]:
        people[picture.identity] += 1
    assert people == {"Jos\u00e9": 4, "Eve": 4, "Anna": 2, "anna": 2}
    assert "kept apart, although they look alike: Anna and anna. Write them" in caplog.text


@pytest.mark.parametrize("split", ["val", "Valid", "validation", "dev"])
def test_val_holds_what_a_list_or_a_folder_calls_so(split, tmp_path, caplog):
    images = ["train/1_c1.jpg", "train/2_c1.jpg", f"{split}/1_c2.jpg", f"{split}/3_c1.jpg"]
    write_images(tmp_path, images)
    file = listed(
        tmp_path, *(f"{n},{n.split('/')[1][0]},{n[-5]},{n.split('/')[0]}" for n in images)
    )
    for flags in (["--csv", file], ["--data_dir", tmp_path, "--pattern", PATTERN]):
        caplog.clear()
        out = tmp_path / flags[0].strip("-")
        prepare.main([*map(str, flags), "--save_dir", str(out)])
        found = {part: names(out / part) for part in ("train", "val", "train_all")}
        places = {
            part: sorted(name.split("/")[1][:7] for name in held) for part, held in found.items()
        }
        assert places == {
            "train": ["0001_c1", "0002_c1"],
            "val": ["0001_c2", "0003_c1"],
            "train_all": ["0001_c1", "0001_c2", "0002_c1"],
        }
        assert "1 person is in val and not in train, such as 3. They are not trained" in caplog.text


@pytest.mark.parametrize(
    "writing", [str.upper, str.title, lambda name: name.replace("_", "-").replace("-q", " Q")]
)
def test_folders_of_splits_are_known_in_any_writing(writing, tmp_path):
    folders = [
        writing(name)
        for name in ("bounding_box_train", "query", "bounding_box_test", "multi-query")
    ]
    write_images(
        tmp_path, [f"{name}/{who}_c1.jpg" for who, name in zip((1, 2, 2, 2), folders, strict=True)]
    )
    splits = own_folder(tmp_path, PATTERN)
    assert {split: len(found) for split, found in splits.items()} == {
        "train_all": 1, "query": 1, "gallery": 1, "multi-query": 1,
    }  # fmt: skip
    file = listed(
        tmp_path,
        *(
            f"{name}/{who}_c1.jpg,{who},1,{name}"
            for who, name in zip((1, 2, 2, 2), folders, strict=True)
        ),
    )
    assert own_csv(tmp_path, file).keys() == splits.keys()


def test_what_a_split_folder_leaves_out_is_listed(tmp_path, caplog):
    write_images(tmp_path, ["Train/1_c1.jpg", "Test/2_c1.jpg", "Test/2_c2.jpg"])
    outside = ["5_c1.jpg", "extra/3_c1.jpg", "probe/2_c3.jpg", "eval/deep/1_c2.jpg"]
    write_images(tmp_path, outside)
    splits = own_folder(tmp_path, PATTERN)
    assert {picture.identity for picture in splits["train_all"]} == {"1"}
    (message,) = caplog.messages
    assert message.startswith("Left out, because they are in none of Train, Test: 4.")
    assert all(str(tmp_path / name) in message for name in outside)


def test_splits_further_down_are_not_mixed_without_a_word(tmp_path, caplog):
    write_images(
        tmp_path,
        [
            f"images/{part}/{who}_c{camera}.jpg"
            for part, who in (("train", 1), ("Test", 2))
            for camera in (1, 2)
        ],
    )
    own_folder(tmp_path, PATTERN)
    assert f"{tmp_path}/images/train" in caplog.text
    assert "To keep the split, pass the folder" in caplog.text
    caplog.clear()
    own_folder(tmp_path / "images", PATTERN)
    assert caplog.messages == []


SEEDED = [name for name, known in DATA_SETS.items() if "seed" in known.flags]


@pytest.mark.parametrize("dataset", [*SEEDED, "synthetic"])
def test_a_seed_below_0_is_refused_in_one_line(dataset, tmp_path, capsys):
    flags = ["--synthetic"] if dataset == "synthetic" else ["--dataset", dataset]
    with pytest.raises(SystemExit) as end:
        prepare.main([*flags, "--data_dir", str(tmp_path), "--seed", "-1"])
    assert end.value.code == 2
    assert "--seed: -1: expected a number of 0 or above" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


ENDLESS = r"(?P<{}>(\d+)+)x"
SEARCHES = {
    "prepare.py --pattern": lambda folder: own_folder(folder, ENDLESS.format("id")),
    "search.py --pattern": lambda folder: about_images(
        folder.iterdir(), pattern=ENDLESS.format("id")
    ),
    "adapt.py --pattern": lambda folder: read_people(folder, pattern=ENDLESS.format("camera")),
}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of the system")
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_pattern_that_never_ends_is_interrupted(search, tmp_path):
    """By the system: the search of a regular expression lets no other thread of Python run."""
    write_images(tmp_path, [f"{'1' * 40}{i}.jpg" for i in "ab"])
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nobody_is_junk_for_the_numbers_of_a_training(tmp_path):
    write_images(tmp_path / "train_all", ["-1/-1_c1_a.jpg"])
    with pytest.raises(UserError, match="holds only junk"):
        read_training_splits([tmp_path], "train_all")
    assert np.all(read_split(tmp_path, "train_all").labels == -1)
