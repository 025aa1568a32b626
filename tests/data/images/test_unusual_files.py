"""Unusual files and other files than images, folders with links to themselves, odd encodings."""

import io
import os
import re
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from person_reid.data.images.bank import load_bank
from person_reid.data.images.image_files import IMAGE_FORMATS, is_readable, load_image
from person_reid.data.layout import list_images, parse_names, read_split
from person_reid.data.readers import images_below
from person_reid.errors import UserError
from tests.data.conftest import noise, write_image, write_images
from tests.support.scripts import refused, run

POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="a file system that Windows does not have"
)
CROPS = [f"{who}_c{camera}_{i}" for who in range(1, 5) for camera in (1, 2) for i in "ab"]
PATTERN = r"(?P<id>\d+)_c(?P<camera>\d+)"


def write_crops(folder, suffixes=(".jpg",)):
    """Small images of four people, with these endings in turn."""
    names = [f"{name}{suffixes[number % len(suffixes)]}" for number, name in enumerate(CROPS)]
    write_images(folder, names)
    return names


def write_list(file, names):
    file.write_text("path,identity\n" + "".join(f"{name},{name[0]}\n" for name in names))


def laid_out(folder):
    return sorted(
        path.name for split in ("train_all", "gallery") for path in list_images(folder / split)
    )


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_every_format_is_read_by_its_content(tmp_path, image_format):
    Image.init()
    if image_format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {image_format}")
    Image.fromarray(np.full((32, 16, 3), 200, np.uint8)).save(
        tmp_path / "a.jpg", format=image_format
    )
    assert np.abs(load_image(tmp_path / "a.jpg", 32, 16).astype(int) - 200).max() <= 2


@pytest.mark.parametrize("flags", [["--csv", "list.csv"], ["--pattern", PATTERN]])
def test_all_endings_arrive(tmp_path, flags):
    names = write_crops(
        tmp_path, (".jpg", ".gif", ".jfif", ".avif", ".jpe", ".JPG", ".pbm", ".tif")
    )
    write_list(tmp_path / "list.csv", names)
    run("prepare", "--data_dir", tmp_path, "--save_dir", tmp_path / "out", *flags, cwd=tmp_path)
    assert {name.partition(".")[2] for name in laid_out(tmp_path / "out")} == {
        n.partition(".")[2] for n in names
    }
    assert len(laid_out(tmp_path / "out")) == len(names)


def test_a_list_of_files_that_are_no_images_is_refused(tmp_path):
    names = write_crops(tmp_path)
    (tmp_path / "5_c1_a.jpg").write_text("not a photograph")
    (tmp_path / "6_notes.csv").write_text("path,identity\n")
    write_list(tmp_path / "list.csv", [*names, "5_c1_a.jpg", "6_notes.csv"])
    output = refused("prepare", "--csv", "list.csv", cwd=tmp_path)
    assert "2 of 18 files are not images" in output
    assert "5_c1_a.jpg" in output
    assert "6_notes.csv" in output
    assert not (tmp_path / "pytorch").exists()


def test_files_that_a_pattern_leaves_out_are_counted(tmp_path):
    write_crops(tmp_path)
    (tmp_path / "1_c1_notes.txt").touch()
    output = run("prepare", "--data_dir", tmp_path, "--pattern", PATTERN, cwd=tmp_path)
    assert "Left out, because they are not images or not of a kind that is read: 1." in output
    assert "1_c1_notes.txt" in output
    (tmp_path / "1_c1_phone.HEIC").touch()
    output = run("prepare", "--data_dir", tmp_path, "--pattern", PATTERN, cwd=tmp_path)
    assert "of a kind that is read; convert HEIC to JPEG: 2." in output


def test_a_pattern_whose_identity_may_be_missing_is_refused(tmp_path):
    write_crops(tmp_path)
    output = refused(
        "prepare", "--data_dir", tmp_path, "--pattern", r"(?P<id>x)?_c(?P<camera>\d+)", cwd=tmp_path
    )
    assert "16 name(s) without a match" in output


def test_one_identity_is_said(tmp_path):
    write_image(tmp_path / "1_c1_a.jpg")
    write_image(tmp_path / "1_c2_a.jpg")
    output = run("prepare", "--data_dir", tmp_path, "--pattern", PATTERN, cwd=tmp_path)
    assert "train_all holds a single identity" in output


def test_next_command_quotes_the_folder(tmp_path):
    write_crops(tmp_path)
    output = run(
        "prepare",
        "--data_dir",
        tmp_path,
        "--save_dir",
        "my people",
        "--pattern",
        PATTERN,
        cwd=tmp_path,
    )
    assert output.splitlines()[-1] in (
        "Next: python train.py --data_dir 'my people'", 'Next: python train.py '
                                                        '--data_dir "my people"',
    )  # fmt: skip


@POSIX
def test_a_broken_source_is_named(tmp_path):
    """Not the file that was to be made of it."""
    names = write_crops(tmp_path / "crops")
    write_list(tmp_path / "crops" / "list.csv", names)
    from person_reid.data import prepare as laying

    def vanish(source, target):
        raise FileNotFoundError(2, "No such file or directory", str(source))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laying, "_link_or_copy", vanish)
        output = refused("prepare", "--csv", "crops/list.csv", cwd=tmp_path)
    assert re.search(r"error: crops.\d_c1_a.jpg: No such file", output)


@POSIX
def test_links_to_the_folder_itself_are_followed_once(tmp_path):
    write_crops(tmp_path / "crops")
    (tmp_path / "crops" / "self").symlink_to(".")
    (tmp_path / "crops" / "up").symlink_to("..")
    assert len(images_below(tmp_path / "crops")) == len(list_images(tmp_path / "crops")) == 16
    write_image(tmp_path / "gallery" / "0001" / "0001_c1.jpg")
    (tmp_path / "gallery" / "self").symlink_to(".")
    (tmp_path / "gallery" / "0001" / "up").symlink_to("../..")
    assert len(read_split(tmp_path, "gallery")) == 1


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    write_crops(tmp_path / "crops")
    (tmp_path / "crops" / "closed").mkdir()

    def scan(path, original=os.scandir):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scan)
    output = refused("prepare", "--data_dir", "crops", "--pattern", PATTERN, cwd=tmp_path)
    assert "closed: Permission denied" in output


@POSIX
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert not is_readable(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match=r"pipe\.jpg: a pipe; expected an image\."):
        load_bank([tmp_path / "pipe.jpg"], 8, 4)


def test_other_formats_do_not_reach_their_programs(tmp_path):
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    )
    with pytest.raises(UserError, match=r"a\.jpg: not an image"):
        load_bank([tmp_path / "a.jpg"], 8, 4)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (13_000, 13_000)).save(tmp_path / "bomb.png")
    tracemalloc.start()
    with (
        pytest.raises(UserError, match="13000×13000 pixels, more than 50 million"),
        pytest.warns(Warning),
    ):
        load_bank([tmp_path / "bomb.png"], 8, 4)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_large_photograph_is_decoded_at_a_fraction(tmp_path):
    photograph = Image.fromarray(noise(64, 32)).resize((2000, 4000), Image.Resampling.BICUBIC)
    photograph.save(tmp_path / "large.jpg", quality=95)
    photograph.save(tmp_path / "large.png", compress_level=1)
    sizes = []

    def resize(image, *arguments, original=Image.Image.resize):
        sizes.append(image.size)
        return original(image, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        small, exact = (
            load_image(tmp_path / f"large.{suffix}", 64, 32).astype(int)
            for suffix in ("jpg", "png")
        )
    assert sizes == [(500, 1000), (2000, 4000)]
    assert np.abs(small - exact).mean() < 2


@POSIX
def test_names_that_are_not_utf8_are_laid_out(tmp_path):
    folder = tmp_path / "crops"
    write_crops(folder)
    for camera in (1, 2):
        content = io.BytesIO()
        Image.new("RGB", (2, 4)).save(content, format="PNG")
        try:
            (folder / os.fsdecode(b"9_c%d_caf\xe9.jpg" % camera)).write_bytes(content.getvalue())
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
    for _ in range(2):
        output = run(
            "prepare",
            "--data_dir",
            folder,
            "--pattern",
            PATTERN,
            "--test_fraction",
            "0",
            cwd=tmp_path,
        )
    assert "kept" in output
    assert "linked" not in output
    assert (
        sum(b"\xe9" in os.fsencode(path) for path in list_images(folder / "pytorch" / "train_all"))
        == 2
    )


def test_numbers_beyond_64_bits_are_not_identities(tmp_path):
    with pytest.raises(UserError, match="1 name"):
        parse_names([tmp_path / f"{2**64}_c1.jpg"])
    write_image(tmp_path / "train" / str(2**70) / f"{2**70}_c1.jpg")
    assert read_split(tmp_path, "train", cameras_required=False).labels.tolist() == [0]


def test_two_layouts_at_once_wait_for_each_other(tmp_path):
    """Each waits for the other, and the second finds everything made."""
    write_crops(tmp_path / "crops")
    from person_reid.data.datasets import DATA_SETS
    from person_reid.data.downloads import with_flags
    from person_reid.data.prepare import lay_out

    data_set, done = with_flags(DATA_SETS["folder"], {"pattern": PATTERN}), []
    threads = [
        threading.Thread(
            target=lambda: done.append(lay_out(data_set, tmp_path / "crops", tmp_path / "out"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(tuple, done)) == [("kept",)] * 3 + [("linked",)]
