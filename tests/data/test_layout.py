"""The layout against torchvision's ImageFolder and the names of published data sets."""

from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from person_reid.data.layout import (
    check_test_sets,
    found_in,
    join_splits,
    list_images,
    next_command,
    parse_names,
    read_split,
    read_training_splits,
    read_unlabelled,
    some_of,
)
from person_reid.errors import UserError
from tests.data.conftest import write_image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", (2, 1)),
        ("1501_c6s3_086542_02.jpg", (1501, 6)),
        ("-1_c1s1_000401_03.jpg", (-1, 1)),
        ("0000_c4s6_012345_01.jpg", (0, 4)),
        ("0001_c2_f0046182.jpg", (1, 2)),
        ("7140_c8_f0046182.jpg", (7140, 8)),
        ("0001_c14_f0046182.jpg", (1, 14)),
        ("0001_c10s2_f0046182.PNG", (1, 10)),
        ("0001_c1.jpg", (1, 1)),
        ("0001_c015_00030600_0.jpg", (1, 15)),
    ],
)
def test_identity_and_camera_of_published_names(name, expected):
    assert np.array(parse_names([Path(name)])).T.tolist() == [list(expected)]


@pytest.mark.parametrize(
    "name",
    [
        "person.jpg",
        "0001.jpg",
        "c1_0001.jpg",
        "-2_c1.jpg",
        "0001_cs1.jpg",
        "٣_c1.jpg",
        f"1_c{10**18}.jpg",
        "",
    ],
)
def test_other_names_are_refused_with_the_pattern(name):
    with pytest.raises(UserError) as error:
        parse_names([Path(name)])
    assert name in str(error.value)
    assert "0002_c1s1_000451_03.jpg" in str(error.value)


def test_every_wrong_name_is_listed_at_once(tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "0001_c1s1.jpg", "b.jpg")]
    with pytest.raises(UserError, match="2 name") as error:
        parse_names(paths)
    assert "a.jpg" in str(error.value)
    assert "b.jpg" in str(error.value)
    assert "0001_c1s1" not in str(error.value)


def test_no_names_give_empty_arrays():
    labels, cameras = parse_names([])
    assert labels.shape == cameras.shape == (0,)
    assert labels.dtype == cameras.dtype == np.int64


def make_split(root):
    for name in [
        "0002/0002_c1s1_000451_03.jpg", "0002/0002_c2s1_000451_03.JPG", "0002/0002_c10s1_1.jpg",
        "0002/deeper/0002_c3s1_0.png", "10/0010_c1s1_0.jpg", "9/0009_c1s1_0.Jpeg",
        "0000/0000_c1s1_0.jpg", "-1/-1_c4s1_ünï çode.webp", "B/0003_c1s1_0.bmp",
        "a/0004_c1s1_0.tif",
        *(f"0005/0005_c1s1_{frame}.jpg" for frame in (7, 30, 2, 11, 100, 5, 1, 20)),
    ]:  # fmt: skip
        write_image(root / "gallery" / name)
    return root / "gallery"


def test_order_and_targets_are_those_of_imagefolder(tmp_path):
    gallery = make_split(tmp_path)
    theirs = ImageFolder(str(gallery))
    (gallery / "0002" / "Thumbs.db").write_bytes(b"x")  # ImageFolder skips it too
    ours = read_split(tmp_path, "gallery")
    assert [str(path) for path in ours.paths] == [path for path, _ in theirs.samples]
    assert ours.targets.tolist() == theirs.targets
    assert ours.classes == theirs.classes
    assert len(ours) == len(theirs)
    assert ours.labels.dtype == ours.cameras.dtype == ours.targets.dtype == np.int64
    by_name = dict(
        zip(
            [path.name for path in ours.paths],
            zip(ours.labels, ours.cameras, strict=True),
            strict=True,
        )
    )
    assert by_name["-1_c4s1_ünï çode.webp"] == (-1, 4)
    assert by_name["0002_c10s1_1.jpg"] == (2, 10)


def test_hidden_files_and_folders_other_files_and_empty_folders_are_ignored(tmp_path):
    gallery = make_split(tmp_path)
    before = read_split(tmp_path, "gallery")
    write_image(gallery / "0002" / "._0002_c1s1_000451_03.jpg")
    write_image(gallery / ".cache" / "0002_c1s1_0.jpg")
    (gallery / "0002" / "Thumbs.db").write_bytes(b"x")
    (gallery / "notes.txt").write_text("x")
    (gallery / "0777").mkdir()
    after = read_split(tmp_path, "gallery")
    assert after.paths == before.paths
    assert after.classes == before.classes


@pytest.mark.parametrize("cameras_required", [True, False])
def test_a_name_that_contradicts_its_folder_is_said(tmp_path, cameras_required, caplog):
    for name in (
        "0002/0002_c1_a",
        "0002/0005_c0_moved",
        "0005/0005_c2_b",
        "anna/0007_c1",
        "anna/0009_c2_other",
    ):
        write_image(tmp_path / "query" / f"{name}.jpg")
    found = read_split(tmp_path, "query", cameras_required)
    assert found.labels.tolist() == [2, 5, 5, 7, 9]
    assert found.targets.tolist() == [0, 0, 1, 2, 2]
    lines = caplog.text.splitlines()
    assert (
        "query: 2 images with a name that contradicts the folder. A test goes by the name"
        in lines[0]
    )
    assert lines[1:] == [
        f"  {tmp_path / 'query' / '0002' / '0005_c0_moved.jpg'}: 5 in the name, 2 by the folder",
        f"  {tmp_path / 'query' / 'anna' / '0009_c2_other.jpg'}: 9 in the name, 7 by the folder",
    ]


def test_images_that_lie_outside_the_folders_of_people_are_counted(tmp_path, caplog):
    for name in (
        "-1/-1_c1",
        "0000/0000_c2",
        "0002/0002_c1",
        "0005_c1_loose",
        "0009_c1_loose",
        ".hidden",
    ):
        write_image(tmp_path / "query" / f"{name}.jpg")
    (tmp_path / "query" / "list.txt").write_text("not an image")
    assert len(read_split(tmp_path, "query")) == 3
    words = (
        "skipped 2 images directly in it, such as 0005_c1_loose.jpg. Expected <identity>/<image>."
    )
    assert caplog.messages == [f"{tmp_path / 'query'}: {words}"]


def test_names_without_an_identity_contradict_nothing(tmp_path, caplog):
    for name in ("anna/holiday", "anna/0007_c1", "bob/1", "0012/x", "0012/0012_c3"):
        write_image(tmp_path / "train" / f"{name}.jpg")
    read_split(tmp_path, "train", cameras_required=False)
    assert not caplog.messages


def test_training_names_may_say_nothing(tmp_path):
    for name in ["0007/img1.jpg", "0007/0007_c3s1_0.jpg", "person b/img2.jpg", "-1/img3.jpg"]:
        write_image(tmp_path / "train" / name)
    split = read_split(tmp_path, "train", cameras_required=False)
    assert split.labels.tolist() == [-1, 7, 7, 2]
    assert split.cameras.tolist() == [-1, 3, -1, -1]
    assert split.targets.tolist() == [0, 1, 1, 2]
    with pytest.raises(UserError, match="3 name"):
        read_split(tmp_path, "train")


def test_missing_folder_says_what_is_there(tmp_path):
    make_split(tmp_path)
    with pytest.raises(UserError, match=r"query: no such folder \(found gallery .*prepare.py"):
        read_split(tmp_path, "query")
    with pytest.raises(UserError, match=r"nowhere: no such folder.*prepare.py"):
        read_split(tmp_path / "nowhere", "query")


def test_folder_above_is_recognised(tmp_path):
    make_split(tmp_path / "pytorch")
    with pytest.raises(UserError, match="pass that folder instead"):
        read_split(tmp_path, "gallery")


@pytest.mark.parametrize("part", ["bounding_box_train", "bounding_box_test"])
def test_download_not_yet_laid_out_is_recognised(tmp_path, part):
    write_image(tmp_path / part / "0002_c1s1_0.jpg")
    write_image(tmp_path / "query" / "0001_c1s1_0.jpg")
    for split in ("train", "query"):
        with pytest.raises(UserError) as error:
            read_split(tmp_path, split)
        assert f"python prepare.py --data_dir {tmp_path}" in str(error.value)
        assert str(tmp_path / "pytorch") in str(error.value)


def test_a_layout_to_test_on_has_nothing_to_train_on(tmp_path):
    for split in ("query", "gallery"):
        write_image(tmp_path / split / "0001" / "0001_c1s1_0.jpg")
    assert next_command(tmp_path) == f"python test.py --name NAME --test_dir {tmp_path}"
    with pytest.raises(
        UserError, match=r"has nothing to train on.*python test\.py --name NAME --test_dir"
    ):
        read_split(tmp_path, "train_all")
    check_test_sets([tmp_path])
    (tmp_path / "gallery").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="gallery: no such folder"):
        check_test_sets([tmp_path])
    assert next_command(tmp_path) == ""


@pytest.mark.parametrize("content", ["nothing", "flat", "no images"])
def test_a_split_without_images_is_refused(tmp_path, content):
    (tmp_path / "query").mkdir()
    if content == "flat":
        write_image(tmp_path / "query" / "0001_c1s1_0.jpg")
    if content == "no images":
        (tmp_path / "query" / "0001").mkdir()
    with pytest.raises(UserError, match=r"no images in it.*<identity>/<image>"):
        read_split(tmp_path, "query")


def make_roots(tmp_path):
    """Three data sets: one with both training folders, one with each of them alone.

    Identities and cameras repeat.
    """
    for name in [
        "a/train/0002/0002_c1.jpg",
        "a/train_all/0002/0002_c1.jpg",
        "a/train_all/0007/0007_c3.jpg",
        "b/train_all/0002/0002_c1.jpg",
        "b/train_all/0002/0002_c2.jpg",
        "b/train_all/0009/0009_c0.jpg",
        "c/train/0002/0002_c3.jpg",
        "c/train/x/unknown.jpg",
    ]:
        write_image(tmp_path / name)
    return [tmp_path / name for name in "abc"]


def test_one_data_set_is_its_split(tmp_path):
    root = make_roots(tmp_path)[0]
    for split in ("train", "train_all"):
        ((folder, alone),) = read_training_splits([str(root)], split)
        assert folder == root / split
        joined, expected = join_splits([(folder, alone)]), read_split(root, split)
        for field in ("paths", "classes"):
            assert getattr(joined, field) == getattr(expected, field)
        for field in ("labels", "cameras", "targets"):
            assert getattr(joined, field).tolist() == getattr(expected, field).tolist()


def test_people_and_cameras_of_several_data_sets_are_distinct(tmp_path):
    roots = make_roots(tmp_path)
    splits = read_training_splits(roots, "train")
    assert [folder.relative_to(tmp_path).as_posix() for folder, _ in splits] == [
        "a/train",
        "b/train_all",
        "c/train",
    ]
    joined = join_splits(splits)
    assert joined.paths == [path for _, part in splits for path in part.paths]
    assert len(joined) == 6
    assert joined.classes == ["0002"] + [
        str(roots[i] / name) for i,
        name in ((1, "train_all/0002"), (1, "train_all/0009"), (2, "train/0002"),
                                             (2, "train/x"))
    ]  # fmt: skip
    assert joined.targets.tolist() == [0, 1, 1, 2, 3, 4]
    assert joined.cameras.tolist()[-1] == -1  # nobody knows
    where = [path.parts[len(tmp_path.parts)] for path in joined.paths]
    for numbers, count in ((joined.labels, 5), (joined.cameras[:-1], 5)):
        assert len(set(numbers.tolist())) == count
        assert all(
            len({root for root, number in zip(where, numbers, strict=False) if number == n}) == 1
            for n in numbers
        )
    assert joined.labels.dtype == joined.cameras.dtype == joined.targets.dtype == np.int64


def test_all_training_images_of_further_data_sets_are_read_where_there_are_some(tmp_path):
    roots = make_roots(tmp_path)
    folders = [folder.name for folder, _ in read_training_splits(roots[::-1], "train")]
    assert folders == ["train", "train_all", "train_all"]
    with pytest.raises(UserError, match=r"train_all: no such folder \(found nothing"):
        (tmp_path / "empty").mkdir()
        read_training_splits([roots[0], tmp_path / "empty"], "train")


def test_the_same_data_set_twice_is_refused(tmp_path):
    roots = make_roots(tmp_path)
    with pytest.raises(UserError, match="more than once"):
        read_training_splits([roots[0], roots[1], roots[1] / ".." / "a"], "train")


def test_unlabelled_images_lie_at_any_depth_and_are_called_anything(tmp_path):
    names = ["b.jpg", "a.PNG", "deep/er/0002_c1s1_000451_03.jpg", "deep/gen_1.jpeg"]
    paths = [write_image(tmp_path / name) for name in names]
    write_image(tmp_path / "._b.jpg")
    (tmp_path / "notes.txt").write_text("x")
    assert read_unlabelled(str(tmp_path)) == [paths[i] for i in (1, 0, 3, 2)]


@pytest.mark.parametrize(
    "folder", [".thumbnails", "@eaDir/a.jpg", "#recycle", "@Recycle", "$RECYCLE.BIN", ".Trash-1000"]
)
def test_deleted_images_and_thumbnails_are_not_read(tmp_path, folder, caplog):
    path = write_image(tmp_path / "crops" / "a.jpg")
    write_image(tmp_path / "crops" / folder / "b.jpg")
    assert list_images(tmp_path) == [path]
    assert "skipped 1 hidden or system folder, such as" in caplog.text
    assert len(list_images(tmp_path / "crops" / folder)) == 1  # the folder that a user names


def test_a_layout_among_the_images_that_it_was_made_of_is_passed_over(tmp_path, caplog):
    for name in ("zebra/1.jpg", "pytorch/.prepared.json", "pytorch/train/0001/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [tmp_path / "zebra" / "1.jpg"]
    assert f"{tmp_path / 'pytorch'}: laid out by prepare.py, so skipped" in caplog.text
    laid_out = [tmp_path / "pytorch" / "train" / "0001" / "1.jpg"]
    assert list_images(tmp_path / "pytorch") == laid_out
    (tmp_path / "zebra" / "1.jpg").unlink()
    assert list_images(tmp_path) == laid_out


@pytest.mark.parametrize("there", [False, True])
def test_missing_unlabelled_images_say_where_to_get_them(tmp_path, there):
    folder = tmp_path / "DG-Market"
    if there:
        (folder / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="found empty" if there else "no such folder") as error:
        read_unlabelled(folder)
    for expected in (
        str(folder),
        "https://github.com/NVlabs/DG-Net#dg-market",
        "128,307",
        "Nothing is downloaded",
    ):
        assert expected in str(error.value)


def test_real_names_give_distractors_junk_and_cameras(real_people):
    labels, cameras = parse_names(list_images(real_people / "bounding_box_test"))
    assert (labels == 0).sum() == 64
    assert (labels == -1).sum() == 40
    assert set(cameras.tolist()) == {1, 2}


def test_long_lists_are_shortened(tmp_path):
    assert some_of(["a", "b"]) == "  a\n  b"
    assert some_of([str(i) for i in range(60)]).splitlines()[-1] == "  … and 10 more"
    assert found_in(tmp_path) == "nothing"
    for i in range(10):
        (tmp_path / str(i)).mkdir()
    assert found_in(tmp_path, most=2) == "0, 1 and 8 more"
