"""Which data set is meant, where it lies, and how a missing one is reported."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import data_set_named, find_data_set
from person_reid.data.layout import read_split, read_unlabelled
from person_reid.data.own.unlabelled import read_people
from person_reid.data.prepare import lay_out
from person_reid.errors import UserError
from tests.data.conftest import write_image

MARKET = DATA_SETS["market"]


def test_data_sets_are_recognised(download, tmp_path):
    assert find_data_set(download) == (MARKET, download)
    duke = tmp_path / "duke"
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        write_image(duke / folder / "0001_c2_f0046182.jpg")
    assert find_data_set(duke)[0] is DATA_SETS["duke"]
    (download / "synthetic.json").write_text("{}")
    assert find_data_set(download)[0] is DATA_SETS["synthetic"]
    assert find_data_set(download, "market")[0] is MARKET
    (duke / "query" / "0001_c2_f0046182.jpg").unlink()
    write_image(duke / "query" / "0001_c2_1.jpg")
    with pytest.raises(
        UserError, match="Market-1501 or DukeMTMC-reID or .*, its file names are not.*with dataset"
    ):
        find_data_set(duke)
    assert find_data_set(duke, "duke")[0] is DATA_SETS["duke"]
    (tmp_path / "ltcc" / "test").mkdir(parents=True)
    write_image(tmp_path / "ltcc" / "query" / "094_1_c9_015722.png")
    assert find_data_set(tmp_path / "ltcc")[0] is DATA_SETS["ltcc"]
    write_image(tmp_path / "other" / "query" / "094_9_015722.png")
    (tmp_path / "other" / "test").mkdir()
    with pytest.raises(UserError, match="LTCC, its file names are not"):
        find_data_set(tmp_path / "other")


def test_default_locations_are_named_and_searched(download, tmp_path, monkeypatch):
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    with pytest.raises(UserError) as error:
        find_data_set()
    for text in (
        "../Market-1501-v15.09.15",
        "../DukeMTMC-reID",
        "--download",
        "--data_dir",
        "--synthetic",
    ):
        assert text in str(error.value)
    for folder in ("query", "bounding_box_test"):  # Duke's names where Market-1501 is looked for
        write_image(tmp_path / "Market" / folder / "0001_c2_f0046182.jpg")
    with pytest.raises(UserError, match="no data set found"):
        find_data_set()
    shutil.rmtree(tmp_path / "Market")
    download.rename(tmp_path / "Market-1501-v15.09.15")
    (tmp_path / "Market").mkdir()  # as the layout makes it
    assert find_data_set() == (MARKET, Path("../Market-1501-v15.09.15"))
    with pytest.raises(UserError, match="gdown 1jj"):
        find_data_set(dataset="duke")


def test_a_data_set_is_recognised_from_the_folder_one_is_in(tmp_path, monkeypatch):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        write_image(tmp_path / "labeled" / folder / "0001_c1_1.png")
    monkeypatch.chdir(tmp_path / "labeled")
    assert find_data_set(".")[0] is DATA_SETS["cuhk03_labeled"]


def test_wrong_folder_says_what_was_found(download, tmp_path):
    with pytest.raises(
        UserError, match=r"found download; expected the folders query, .*They are in .*download"
    ):
        find_data_set(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_data_set(tmp_path / "nowhere")
    (tmp_path / "animals" / "zebra").mkdir(parents=True)
    with pytest.raises(UserError, match=r'Images of your own: --pattern "\(\?P<id>\[\^/\]\+\)/"'):
        find_data_set(tmp_path / "animals")
    lay_out(MARKET, download, tmp_path / "out")
    with pytest.raises(UserError, match="laid out already. Next: python train.py --data_dir"):
        find_data_set(tmp_path / "out")
    with pytest.raises(UserError, match="Did you mean 'market'"):
        find_data_set(download, "markt")
    with pytest.raises(UserError, match="images or distractors_500k"):
        find_data_set(download, "market_500k")


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "market.zip").touch()
    for read in (find_data_set, read_people, read_unlabelled, lambda file: read_split(file, "val")):
        with pytest.raises(UserError, match=r"market\.zip'?: a file; unpack an archive and name"):
            read(tmp_path / "market.zip")


def test_a_layout_is_not_a_data_set_that_has_its_folders(download, tmp_path, monkeypatch):
    plain = replace(MARKET, requires=("query", "gallery"), file_name="")
    monkeypatch.setitem(DATA_SETS, "plain", plain)
    lay_out(MARKET, download, tmp_path / "out")
    with pytest.raises(UserError, match="laid out already"):
        find_data_set(tmp_path / "out")
    assert find_data_set(tmp_path / "out", "plain") == (plain, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("market1501", "market"), ("Market-1501", "market"), ("MARKET", "market"),
        ("dukemtmc", "duke"), ("DukeMTMC-reID", "duke"), ("dukemtmc_reid", "duke"),
        ("VeRi-776", "veri"), ("viper", "viper"), ("msmt17_V2", "msmt17_v2"),
        ("MSMT17 v1", "msmt17_v1"), ("cub-200-2011", "cub"), ("dgmarket", "dg_market"),
        ("Market-1501-v15.09.15", "market"), ("Market1501+500k", "market_500k"),
        ("cuhk03-np/labeled", "cuhk03_labeled"), *((key, key) for key in DATA_SETS),
        *((known.name, key) for key, known in DATA_SETS.items()),
    ],
)  # fmt: skip
def test_a_data_set_is_named_in_any_writing(text, key):
    assert data_set_named(text) == key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("msmt17", "could be msmt17_v1 or msmt17_v2"),
        ("cuhk03-np", "could be cuhk03_detected or cuhk03_labeled"),
        ("markt", "Did you mean 'market'"),
        ("Markt-1501", "Did you mean 'market1501'"),
        ("MOT17", "Did you mean 'mot'"),
        ("-", "expected one of market"),
    ],
)
def test_a_name_of_no_data_set_or_of_several_is_refused(text, words):
    with pytest.raises(UserError, match=f"dataset={text}: .*{words}"):
        data_set_named(text)
