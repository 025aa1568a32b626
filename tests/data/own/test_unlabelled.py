"""Folders of unknown people: cameras from names, patterns and folders, and no use of identities."""

import shutil

import numpy as np
import pytest

from benchmarks.support.people import write_people
from person_reid.data.own.unlabelled import read_people
from person_reid.errors import UserError


@pytest.fixture
def people(tmp_path):
    write_people(tmp_path / "people" / "train_all", 4, 3)
    return tmp_path / "people"


def contents(split):
    return [path.read_bytes() for path in split.paths]


def test_a_layout_gives_its_training_images_and_their_cameras(people):
    write_people(people / "query", 1, 1)
    write_people(people / "train", 2, 1)  # a part of train_all
    folder, split = read_people(people)
    assert folder == people / "train_all"
    assert len(split) == 12
    written = [int(path.name.split("_c")[1][0]) for path in split.paths]
    assert (split.cameras + 1 == written).all()
    assert split.classes == ["unlabelled"]
    assert not split.targets.any()
    assert (split.labels == -1).all()


def test_names_of_people_have_no_influence(people, tmp_path):
    """Neither in the file names nor in the folders: the same images in the same order."""
    _, before = read_people(people)
    (tmp_path / "renamed").mkdir()
    for number, path in enumerate(sorted(before.paths)):
        shutil.copy(
            path, tmp_path / "renamed" / f"{97 - 7 * number % 50:04}_{path.name.partition('_')[2]}"
        )
    _, after = read_people(tmp_path / "renamed")
    assert contents(after) == contents(before)
    assert (after.cameras == before.cameras).all()


def test_a_single_name_without_a_camera_is_remarked(people, caplog):
    path = read_people(people)[1].paths[5]
    assert not caplog.text
    path.rename(path.with_name("crop.png"))
    _, split = read_people(people)
    assert (split.cameras == -1).all()
    assert "1 of 12 images have no camera in their names" in caplog.text
    assert "crop.png" in caplog.text


def test_two_sources_of_cameras_are_refused(people):
    with pytest.raises(UserError, match="cameras=folders would be ignored: pattern"):
        read_people(people, "folders", r"-cam(?P<camera>\d)")


def test_folders_and_patterns_give_cameras(people):
    for person, camera in ((1, "lobby"), (2, "door"), (3, "lobby"), (4, "garage")):
        (people / camera).mkdir(exist_ok=True)
        for path in (people / "train_all" / f"{person:04}").iterdir():
            shutil.move(path, people / camera / path.name.replace("_c", "-cam"))
    shutil.rmtree(people / "train_all")
    _, split = read_people(people, "folders")
    expected = [["door", "garage", "lobby"].index(path.parent.name) for path in split.paths]
    assert split.cameras.tolist() == expected
    _, split = read_people(people, pattern=r"-cam(?P<camera>\d)")
    assert split.cameras.tolist() == [
        int(path.name.split("-cam")[1][0]) - 1 for path in split.paths
    ]
    _, split = read_people(people, pattern=r"^(?P<camera>[a-z]+)/")
    assert split.cameras.tolist() == expected
    for source in ("names", "none"):  # no name is like Market-1501's
        assert (read_people(people, source)[1].cameras == -1).all()


def test_an_image_beside_the_folders_of_cameras_has_none(people):
    path = read_people(people)[1].paths[0]
    path.rename(people / "train_all" / path.name)
    _, split = read_people(people, "folders")
    assert [camera == -1 for camera in split.cameras] == [
        place.name == path.name for place in split.paths
    ]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "not a regular expression"),
        (r"c(\d)", "group camera"),
        (r"no(?P<camera>\d)", "12 name.s. without a match"),
        (r"_c(?P<camera>x?)", "12 name.s. without a match"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(people, pattern, words):
    with pytest.raises(UserError, match=words):
        read_people(people, pattern=pattern)


def test_folders_without_images_are_refused(tmp_path):
    write_people(tmp_path / "one", 1, 1)
    for name, words in (("one", "1 image"), ("none", "no such folder")):
        with pytest.raises(UserError, match=words):
            read_people(tmp_path / name)


def test_equal_images_are_ordered_by_camera(tmp_path):
    write_people(tmp_path / "a", 1, 2)
    (first, second) = sorted((tmp_path / "a" / "0001").iterdir())
    shutil.copy(first, second)
    _, split = read_people(tmp_path / "a")
    assert (split.cameras == np.arange(2)).all()


def test_broken_images_are_left_out_when_asked_and_those_of_phones_are_counted(people, caplog):
    folder, split = read_people(people)
    (folder / "broken.jpg").write_bytes(b"nothing")
    (folder / "IMG_1.HEIC").write_bytes(b"a phone's")
    assert len(read_people(people, skip_unreadable=True)[1]) == len(split)
    assert "broken.jpg: not an image" in caplog.text
    assert "HEIC is not read, so 1 image is skipped, such as IMG_1.HEIC" in caplog.text
