"""The layout that prepare.py makes, and everything that must not happen to a download."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from person_reid.data import prepare as laying
from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import with_flags
from person_reid.data.images.image_files import PREPARED_RECORD
from person_reid.data.layout import read_split
from person_reid.data.prepare import file_names, lay_out, numbers_of, plan_layout, read_splits
from person_reid.data.readers import TRAIN, Picture
from person_reid.data.summary import describe_layout
from person_reid.errors import UserError
from tests.data.conftest import FILES, write_image
from tests.support import ROOT

MARKET = DATA_SETS["market"]


def state(folder, *without):
    """Everything in a folder: {path: (inode, time, bytes)}, without times of folders."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes(),
        )
        for path in folder.rglob("*")
        if path.is_file()
        and path.name != ".lock"
        and not any(parent in path.parents for parent in without)
    }


def names(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_the_layout_holds_the_images_of_the_download(download, tmp_path):
    before = state(download)
    done = lay_out(MARKET, download, tmp_path / "out")
    assert names(tmp_path / "out") == sorted(
        [".lock", PREPARED_RECORD]
        + [f"train_all/{name[:4]}/{name}" for name in FILES["bounding_box_train"]]
        + [f"gallery/{name.split('_')[0]}/{name}" for name in FILES["bounding_box_test"]]
        + [f"query/0001/{name}" for name in FILES["query"]]
        + [f"multi-query/0001/{name}" for name in FILES["gt_bbox"]]
        + [
            "val/0002/0002_c1s1_000451_03.jpg",
            "val/0007/0007_c1s1_ünï çode.png",
            "val/0011/0011_c6s1_000451_03.jpg.jpg",
        ]
        + ["train/0002/0002_c1s1_000551_01.jpg", "train/0002/0002_c2s1_000001_01.jpg"]
        + ["train/0007/0007_c3s1_000451_03.JPG"]
        # It is the only image of its class, which train would lack otherwise.
        + ["train/0011/0011_c6s1_000451_03.jpg.jpg"]
    )
    assert done == {"linked": 19}
    assert state(download) == before
    source = download / "query" / FILES["query"][0]
    target = tmp_path / "out" / "query" / "0001" / FILES["query"][0]
    assert source.samefile(target)
    assert read_split(tmp_path / "out", "gallery").labels.tolist() == [-1, 0, 1]
    classes = [
        read_split(tmp_path / "out", split, cameras_required=False).classes
        for split in ("train", "val", "train_all")
    ]
    assert classes == [["0002", "0007", "0011"]] * 3


@pytest.mark.parametrize("hard_links", [True, False])
def test_second_run_changes_nothing(download, tmp_path, monkeypatch, hard_links):
    if not hard_links:
        refuse_hard_links(monkeypatch)
    assert set(lay_out(MARKET, download, tmp_path / "out")) == {
        "linked" if hard_links else "copied"
    }
    before = state(tmp_path)
    assert lay_out(MARKET, download, tmp_path / "out") == {"kept": 19}
    assert state(tmp_path) == before


def refuse_hard_links(monkeypatch):
    def link(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(laying.os, "link", link)


def test_copies_keep_the_time_and_are_whole(download, tmp_path, monkeypatch):
    refuse_hard_links(monkeypatch)
    source = download / "query" / FILES["query"][0]
    os.utime(source, ns=(10**18, 10**18))
    lay_out(MARKET, download, tmp_path / "out")
    copy = tmp_path / "out" / "query" / "0001" / source.name
    assert copy.stat().st_mtime_ns == 10**18
    assert copy.read_bytes() == source.read_bytes()
    assert not source.samefile(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_symbolic_links_in_the_download_are_followed(download, tmp_path):
    name = FILES["query"][0]
    (download / "query" / name).rename(tmp_path / "elsewhere.jpg")
    (download / "query" / name).symlink_to("../../elsewhere.jpg")
    lay_out(MARKET, download, tmp_path / "out")
    assert (tmp_path / "out" / "query" / "0001" / name).samefile(tmp_path / "elsewhere.jpg")


def test_default_place_inside_the_download_leaves_the_rest_untouched(download):
    before = state(download)
    lay_out(MARKET, download, download / "pytorch")
    assert state(download, download / "pytorch") == before
    assert lay_out(MARKET, download, download / "pytorch") == {"kept": 19}


@pytest.mark.parametrize("where", [".", "query", "bounding_box_train/pytorch"])
def test_layout_never_mixes_with_the_download(download, where):
    before = state(download)
    with pytest.raises(UserError, match="would mix with the download"):
        lay_out(MARKET, download, download / where)
    assert state(download) == before


def test_wrong_names_are_reported_all_at_once_and_nothing_is_made(download, tmp_path):
    write_image(download / "query" / "somebody.jpg")
    write_image(download / "gt_bbox" / "else.png")
    with pytest.raises(UserError, match="2 name") as error:
        lay_out(MARKET, download, tmp_path / "out")
    assert "somebody.jpg" in str(error.value)
    assert "else.png" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_of_the_download_is_refused(download, tmp_path):
    shutil.rmtree(download / "query")
    (download / "query").mkdir()
    with pytest.raises(UserError, match="query: no images"):
        lay_out(MARKET, download, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_longest_names_of_a_file_system_are_kept(download, tmp_path):
    name = f"0001_c2s1_{'x' * 241}.jpg"
    (download / "query" / FILES["query"][0]).rename(download / "query" / name)
    lay_out(MARKET, download, tmp_path / "out")
    assert (tmp_path / "out" / "query" / "0001" / name).exists()


def test_an_interrupted_layout_is_completed_and_another_one_is_refused(
    download, tmp_path, monkeypatch
):
    out, place = tmp_path / "out", laying._place
    placed: list[Path] = []

    def interrupted(source, target):
        if len(placed) == 5:
            raise KeyboardInterrupt
        placed.append(target)
        return place(source, target)

    monkeypatch.setattr(laying, "_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lay_out(MARKET, download, out)
    monkeypatch.undo()
    stranger = out / "train_all" / "0002" / "0002_c5s1_mine.jpg"
    write_image(stranger)
    assert lay_out(MARKET, download, out) == {"kept": 5, "linked": 14}
    report = "\n".join(describe_layout(MARKET, out))
    assert "did not make, left alone: 1." in report
    assert "0002_c5s1_mine.jpg" in report
    (download / "bounding_box_train" / "0011_c6s1_000451_03.jpg.jpg").unlink()
    before = state(out)
    with pytest.raises(UserError, match="download with other images or options. Delete it"):
        lay_out(MARKET, download, out)
    assert state(out) == before


def test_layout_of_another_download_is_not_overwritten(download, tmp_path):
    other = shutil.copytree(download, tmp_path / "other")
    lay_out(MARKET, download, tmp_path / "out")
    before = state(tmp_path)
    with pytest.raises(UserError, match="holds the layout of .*download"):
        lay_out(MARKET, other, tmp_path / "out")
    assert state(tmp_path) == before


def test_moved_data_set_is_recognised(download, tmp_path):
    lay_out(MARKET, download, download / "pytorch")
    download.rename(tmp_path / "moved")
    assert lay_out(MARKET, tmp_path / "moved", tmp_path / "moved" / "pytorch") == {"kept": 19}


def test_a_layout_on_another_drive_of_windows_notes_the_whole_path(download, tmp_path, monkeypatch):
    def other_drive(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(laying.os.path, "relpath", other_drive)
    lay_out(MARKET, download, tmp_path / "out")
    record = json.loads((tmp_path / "out" / PREPARED_RECORD).read_text())
    assert record["source"] == download.resolve().as_posix()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"files": 3}',
        '{"source": "../download", "files": ["../victim.jpg", "val/../../victim.jpg"]}',
    ],
)
def test_damaged_or_hostile_record_removes_nothing(download, tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / PREPARED_RECORD).write_text(content)
    write_image(tmp_path / "victim.jpg")
    assert lay_out(MARKET, download, out) == {"linked": 19}
    assert (tmp_path / "victim.jpg").exists()


def test_a_folder_that_cannot_be_written_is_named(download, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written .* Choose another"):
        lay_out(MARKET, download, tmp_path / "file" / "out")


def test_full_disk_leaves_no_half_file(download, tmp_path, monkeypatch):
    refuse_hard_links(monkeypatch)
    copy = shutil.copyfile

    def fill_up(source, target):
        if source.name == FILES["query"][0]:
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device", str(source))
        copy(source, target)

    monkeypatch.setattr(laying.shutil, "copyfile", fill_up)
    with pytest.raises(OSError, match=r"No space left on device: '.*out") as error:
        lay_out(MARKET, download, tmp_path / "out")
    assert error.value.errno == 28
    assert len(names(tmp_path / "out")) == 2 + 6
    monkeypatch.undo()
    assert lay_out(MARKET, download, tmp_path / "out") == {"kept": 6, "linked": 13}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_and_run_again_ends_in_the_same_state(download, tmp_path):
    script = """
import sys, time
from pathlib import Path
from person_reid.data import prepare
from person_reid.data.datasets import DATA_SETS

copy = prepare.shutil.copyfile

def copy_slowly(source, target):
    target.write_bytes(b"half")
    time.sleep(0.05)
    copy(source, target)

def link(source, target):
    raise OSError(1, "Operation not permitted")

prepare.shutil.copyfile, prepare.os.link = copy_slowly, link
prepare.lay_out(DATA_SETS["market"], Path(sys.argv[1]), Path(sys.argv[2]))
"""
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", script, str(download), str(out)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(names(out)) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 5 <= len(names(out)) < 20
    lay_out(MARKET, download, out)
    fresh = tmp_path / "fresh"
    lay_out(MARKET, download, fresh)
    assert [name for name in names(out) if not name.endswith(".partial")] == names(fresh)
    assert all((out / name).read_bytes() == (fresh / name).read_bytes() for name in names(fresh))


def test_people_in_training_and_test_are_said(tmp_path):
    for name in [f"train/{who}" for who in (1, 2)] + [f"test/{who}" for who in (1, 2, 3)]:
        for camera in (1, 2):
            write_image(tmp_path / f"{name}_c{camera}.jpg")
    pattern = r"(?P<id>\d+)_c(?P<camera>\d)"
    data_set = with_flags(DATA_SETS["folder"], {"pattern": pattern})
    lay_out(data_set, tmp_path, tmp_path / "out")
    said = "Of 3 identities to test on, 2 are also in train_all."
    report = " ".join(describe_layout(data_set, tmp_path / "out"))
    assert said in report
    assert "single image" not in report


def test_counts_stand_beside_those_published(download, tmp_path):
    lay_out(MARKET, download, tmp_path / "out")
    report = [" ".join(line.split()) for line in describe_layout(MARKET, tmp_path / "out")]
    assert "train_all 3 6 4 751 / 12,936 / 6 DIFFERS" in report
    assert "val 3 3 2" in report
    assert "gallery includes 1 distractors (0000) and 1 junk boxes (-1)." in report
    assert "Identities with a single image, which is in train and in val: 1." in report
    published = replace(MARKET, published={"train_all": (3, 6, 4)})
    assert any(
        line.endswith("3 / 6 / 4  as here") for line in describe_layout(published, tmp_path / "out")
    )


def test_real_people_are_planned_as_their_names_say(real_people, tmp_path):
    plan = plan_layout(read_splits(MARKET, real_people), real_people).files
    found = {
        split: {target.split("/")[1] for target in plan if target.startswith(f"{split}/")}
        for split in laying.PREPARED_SPLITS
    }
    sizes = {
        split: sum(target.startswith(f"{split}/") for target in plan)
        for split in laying.PREPARED_SPLITS
    }
    assert sizes == {
        "train": 570,
        "val": 38,
        "train_all": 608,
        "query": 40,
        "gallery": 384,
        "multi-query": 320,
    }
    assert len(found["train"]) == len(found["val"]) == len(found["train_all"]) == 38
    assert found["gallery"] - found["query"] == {"-1", "0000"}


def test_a_name_that_gives_its_tracklet_and_clothes_is_kept():
    """A layout that is laid out again, as with corrections; t1 is not t12."""
    names = ["0002_c1t12o3_a.jpg", "0002_c1t1o3_a.jpg", "0002_c001t1_a.jpg", "0002_c1_b.jpg"]
    marks = [("12", "3"), ("12", "3"), ("1", None), ("1", None)]
    splits = {
        TRAIN: [
            Picture(Path(str(number), name), "2", "1", track, clothes)
            for number, (name, (track, clothes)) in enumerate(zip(names, marks, strict=True))
        ]
    }
    assert list(file_names(splits, numbers_of(splits))[TRAIN]) == [
        "0002/0002_c1t12o3_a.jpg",
        "0002/0002_c1t12o3_0002_c1t1o3_a.jpg",
        "0002/0002_c001t1_a.jpg",
        "0002/0002_c1t1_0002_c1_b.jpg",
    ]
