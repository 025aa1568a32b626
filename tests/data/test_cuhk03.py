"""A cuhk-03.mat of two camera pairs with three people: cells of references, axes in reverse."""

import sys

import numpy as np
import pytest
from PIL import Image

from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import find_data_set, with_flags
from person_reid.data.prepare import lay_out
from person_reid.errors import UserError
from tests.data.test_prepare import names, state


@pytest.fixture
def folder(tmp_path):
    h5py = pytest.importorskip("h5py")
    scipy_io = pytest.importorskip("scipy.io")
    reference = h5py.special_dtype(ref=h5py.Reference)
    with h5py.File(tmp_path / "cuhk-03.mat", "w") as file:
        for kind in ("detected", "labeled"):
            pairs = []
            for pair, people in enumerate((2, 1), 1):
                cell = file.create_dataset(f"{kind}{pair}", (10, people), dtype=reference)
                for person in range(people):
                    for number in range(10):
                        name = f"#refs#/{kind}{pair}_{person}_{number}"
                        picture = file.create_dataset(
                            name, data=picture_of(pair, person + 1, number + 1, kind)
                        )
                        cell[number, person] = picture.ref
                pairs.append(cell.ref)
            file.create_dataset(kind, (1, 2), dtype=reference)[0] = pairs
        test = file.create_dataset("test", data=np.array([[1.0], [2.0]]))  # pair 1, person 2
        file.create_dataset("testsets", (1, 20), dtype=reference)[0] = [test.ref] * 20
    filelist = [
        "1_001_1_01.png",
        "1_001_2_06.png",
        "1_002_1_01.png",
        "1_002_2_06.png",
        "2_001_1_02.png",
    ]
    for kind in ("detected", "labeled"):
        config = {
            "filelist": np.array([[name] for name in filelist], dtype=object),
            "labels": np.array([[1], [1], [2], [2], [3]]),
            "train_idx": [[1], [2], [5]],
            "query_idx": [[3]],
            "gallery_idx": [[4]],
        }
        scipy_io.savemat(tmp_path / f"cuhk03_new_protocol_config_{kind}.mat", config)
    return tmp_path


def picture_of(pair, person, number, kind):
    """As HDF5 holds it, (3, width, height); every fifth cell is empty as MATLAB writes one."""
    if number % 5 == 0:
        return np.zeros(2, np.uint64)
    return (
        np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
        + 10 * pair
        + person
        + number
        + len(kind)
    )


@pytest.mark.parametrize("kind", ["detected", "labeled"])
def test_the_new_protocol_is_laid_out_from_the_file(folder, kind):
    before = state(folder)
    data_set, _ = find_data_set(folder, f"cuhk03_{kind}")
    assert lay_out(data_set, folder, folder / "out") == {"extracted": 9}
    assert state(folder, folder / "out") == before
    expected = {
        "train_all": [
            "0001/0001_c1_1_001_1_01.png",
            "0001/0001_c2_1_001_2_06.png",
            "0003/0003_c1_2_001_1_02.png",
        ],
        "val": ["0001/0001_c1_1_001_1_01.png", "0003/0003_c1_2_001_1_02.png"],
        "query": ["0002/0002_c1_1_002_1_01.png"],
        "gallery": ["0002/0002_c2_1_002_2_06.png"],
    }
    for split, files in expected.items():
        assert names(folder / "out" / split) == files
    written = np.asarray(Image.open(folder / "out" / "gallery" / expected["gallery"][0]))
    assert (written == picture_of(1, 2, 6, kind).T).all()
    assert written.shape == (6, 4, 3)
    made = state(folder)
    assert lay_out(data_set, folder, folder / "out") == {"kept": 9}
    assert state(folder) == made


def read(key, folder, **flags):
    reader = with_flags(DATA_SETS[key], flags).read
    assert reader is not None
    return reader(folder)


def test_the_original_protocol_tests_on_the_people_of_its_seed(folder):
    splits = read("cuhk03_original_detected", folder, seed=19)
    assert {picture.identity for picture in splits["query"]} == {"1002"}
    assert {picture.identity for picture in splits["train_all"]} == {"1001", "2001"}
    assert [picture.camera for picture in splits["query"]] == ["1"] * 4 + ["2"] * 4
    assert splits["gallery"] == splits["query"]
    with pytest.raises(UserError, match="test sets 0 to 19"):
        read("cuhk03_original_detected", folder, seed=20)


def test_the_file_may_lie_where_the_release_unpacks_it(folder):
    (folder / "cuhk03_release").mkdir()
    (folder / "cuhk-03.mat").rename(folder / "cuhk03_release" / "cuhk-03.mat")
    assert len(read("cuhk03_original_detected", folder)["query"]) == 8


def test_a_split_that_is_missing_or_of_other_images_is_named(folder, monkeypatch):
    monkeypatch.setattr("person_reid.data.cuhk03.read_cuhk03", lambda *_: [])
    with pytest.raises(
        UserError, match=r"lists 5 images that are not in cuhk-03\.mat, such as 1_001_1_01\.png"
    ):
        read("cuhk03_detected", folder)
    (folder / "cuhk03_new_protocol_config_detected.mat").unlink()
    with pytest.raises(
        UserError, match=r"detected\.mat: no such file\. It is in evaluation/data/CUHK03"
    ):
        read("cuhk03_detected", folder)


def test_half_a_download_or_a_missing_h5py_is_named(folder, monkeypatch):
    (folder / "cuhk-03.mat").write_bytes(b"half")
    with pytest.raises(UserError, match="not readable as HDF5"):
        read("cuhk03_detected", folder)
    (folder / "cuhk-03.mat").unlink()
    with pytest.raises(UserError, match="no such file, nor in cuhk03_release"):
        read("cuhk03_detected", folder)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        read("cuhk03_detected", folder)
