"""Data sets of tracklets, in miniature: their lists as their authors write them, made images."""

import h5py
import numpy as np
import pytest
import scipy.io

from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import find_data_set
from person_reid.data.file_names import tracklets_of
from person_reid.data.layout import read_split
from person_reid.data.prepare import lay_out
from person_reid.data.summary import describe_layout
from person_reid.errors import UserError
from tests.data.conftest import write_images
from tests.data.test_miniatures import check_for_testing_alone
from tests.data.test_prepare import names, state
from tests.support.tracklets import MARS_TEST, MARS_TRAIN, mars_frames, write_mars

LSVID = {
    "train": ["0000/0000_0001_03", "0001/0001_0001_14"],
    "test": ["0000/0000_0001_15", "0000/0000_0010_02", "0002/0002_0001_02", "0000/0000_0001_01"],
}


def write_lsvid(folder, version="7.3"):
    """LS-VID: two people to train on, two to test on; the third line of the test is a query."""
    (folder / "list_sequence").mkdir(parents=True)
    for part, tracklets in LSVID.items():
        lines = [f"tracklet_{part}/{name} {int(name[:4])}" for name in tracklets]
        (folder / "list_sequence" / f"list_seq_{part}.txt").write_text("\n".join(lines) + "\n")
        frames = [f"tracklet_{part}/{name}_{i:04d}.jpg" for name in tracklets for i in (1, 2)]
        write_images(folder, frames)
    file = folder / "test" / "data" / "info_test.mat"
    file.parent.mkdir(parents=True)
    if version == "7.3":
        with h5py.File(file, "w", userblock_size=512) as content:
            content["query"] = np.array([[1.0], [3.0]])  # transposed, as MATLAB writes it
        with file.open("r+b") as header:
            header.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    else:
        scipy.io.savemat(file, {"query": [[1, 3]]})
    return folder


def test_mars_is_recognised_and_laid_out_by_its_own_lists(tmp_path):
    folder = write_mars(tmp_path / "MARS")
    before = state(folder)
    data_set, _ = find_data_set(folder)
    assert data_set is DATA_SETS["mars"]
    lay_out(data_set, folder, folder / "pytorch")
    assert state(folder, folder / "pytorch") == before
    assert "query/0002/0002_c1t3_0002C1T0001F001.jpg" in names(folder / "pytorch")
    # By hand: a tracklet of one frame is a query, and a query stays in the gallery.
    expected = {"train_all": (5, 2), "query": (3, 2), "gallery": (17, 7)}
    for split, (images, tracklets) in expected.items():
        found = read_split(folder / "pytorch", split)
        assert (len(found), len(set(tracklets_of(found.paths)))) == (images, tracklets), split
    gallery = read_split(folder / "pytorch", "gallery")
    for first, last, identity, camera in MARS_TEST:
        whose = (gallery.labels == identity) & (gallery.cameras == camera)
        assert whose.sum() >= last - first + 1
    report = "\n".join(describe_layout(data_set, folder / "pytorch"))
    assert all("python test.py --tracks" in each.note for each in (data_set, DATA_SETS["lsvid"]))
    assert "gallery includes 2 distractors (0000) and 3 junk boxes (-1)" in report
    assert "tracklets: train 2, val 2, train_all 2, query 2, gallery 7" in report


def test_mars_without_training_images_is_laid_out_for_testing(tmp_path):
    folder = write_mars(tmp_path / "MARS", train=())
    data_set, _ = find_data_set(folder)
    lay_out(data_set, folder, folder / "pytorch")
    check_for_testing_alone(data_set, folder / "pytorch")


def test_junk_of_mars_is_neither_trained_on_nor_asked_for(tmp_path, caplog):
    folder = write_mars(tmp_path, train=[*MARS_TRAIN, (6, 7, -1, 2)], queries=[1, 2, 3, 6])
    lay_out(DATA_SETS["mars"], folder, folder / "pytorch")
    for split, expected in {"train_all": {1, 7}, "query": {2, 4}, "gallery": {-1, 0, 2, 4}}.items():
        assert set(read_split(folder / "pytorch", split).labels.tolist()) == expected
    assert sum("skipped in" in message for message in caplog.messages) == 2


@pytest.mark.parametrize(
    ("file", "key", "rows", "words"),
    [
        ("tracks_test_info", "track_test_info", [[1, 99, 2, 1]], "row 1: lines 1 to 99, 0002"),
        (
            "tracks_train_info",
            "track_train_info",
            [[1, 5, 1, 1]],
            "1 of its 1 tracklets do not fit",
        ),
        ("query_IDX", "query_IDX", [[8]], "1 of its 1 queries are not among the 7 tracklets"),
        ("query_IDX", "another", [[1]], "no matrix query_IDX to be read in it"),
    ],
)
def test_lists_of_mars_that_contradict_one_another_are_named(file, key, rows, words, tmp_path):
    write_mars(tmp_path)
    scipy.io.savemat(tmp_path / "info" / f"{file}.mat", {key: rows})
    with pytest.raises(UserError, match=words):
        lay_out(DATA_SETS["mars"], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_of_mars_that_are_missing_are_named(tmp_path):
    write_mars(tmp_path)
    name = mars_frames(MARS_TRAIN)[0]
    (tmp_path / "bbox_train" / name[:4] / name).unlink()
    with pytest.raises(UserError, match=rf"1 image\(s\) listed but not in(?s:.*){name}"):
        lay_out(DATA_SETS["mars"], tmp_path, tmp_path / "out")
    (tmp_path / "info" / "query_IDX.mat").unlink()
    with pytest.raises(UserError, match=r"query_IDX\.mat: no such file"):
        lay_out(DATA_SETS["mars"], tmp_path, tmp_path / "out")


@pytest.mark.parametrize("version", ["7.3", "5"])
def test_lsvid_is_recognised_and_laid_out_by_its_own_lists(version, tmp_path):
    folder = write_lsvid(tmp_path / "LS-VID", version)
    data_set, _ = find_data_set(folder)
    assert data_set is DATA_SETS["lsvid"]
    lay_out(data_set, folder, folder / "pytorch")
    laid_out = {
        split: [name for name in names(folder / "pytorch" / split) if not name.startswith(".")]
        for split in ("query", "gallery", "train_all")
    }
    # People are counted from 0 in the lists, and from 1 here.
    assert laid_out["query"] == [
        "0001/0001_c15t1_0000_0001_15_0001.jpg",
        "0001/0001_c15t1_0000_0001_15_0002.jpg",
        "0003/0003_c2t3_0002_0001_02_0001.jpg",
        "0003/0003_c2t3_0002_0001_02_0002.jpg",
    ]
    assert [name.split("_")[1] for name in laid_out["gallery"]] == ["c1t4"] * 2 + ["c2t2"] * 2
    assert [name.split("_")[1] for name in laid_out["train_all"]] == ["c3t1"] * 2 + ["c14t2"] * 2


def test_tracklets_of_lsvid_without_frames_are_named(tmp_path):
    folder = write_lsvid(tmp_path / "LS-VID")
    (folder / "tracklet_test" / "0000" / "0000_0010_02_0001.jpg").rename(folder / "0.jpg")
    (folder / "tracklet_test" / "0000" / "0000_0010_02_0002.jpg").rename(
        folder / "tracklet_test" / "0000" / "0000_0010_03_0002.jpg"
    )
    with pytest.raises(UserError, match="1 of its 4 tracklets have no frames of one camera"):
        lay_out(DATA_SETS["lsvid"], folder, folder / "pytorch")
