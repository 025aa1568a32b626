"""Every data set of the table in miniature: its folders, lists and names, with tiny pictures."""

import re
from dataclasses import replace

import pytest

from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import find_data_set, with_flags
from person_reid.data.layout import list_images, next_command, read_split
from person_reid.data.prepare import lay_out
from person_reid.data.readers import read_columns
from person_reid.data.summary import describe_layout, describe_unlabelled
from person_reid.errors import UserError
from tests.data.conftest import write_image, write_images
from tests.data.test_prepare import names, state
from tests.support.miniatures import MINIATURES, MSMT17, UNIVERSITY
from tools.docs.datasets import DATA_SETS_MARKS, DATA_SETS_PAGE, data_set_table


def write_data_set(folder, images, texts):
    write_images(folder, images)
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("key", MINIATURES)
def test_miniature_is_recognised_and_laid_out(key, tmp_path):
    images, texts, laid_out = MINIATURES[key]
    folder = tmp_path / key.removeprefix("cuhk03_")
    write_data_set(folder, images, texts)
    before = state(folder)
    found = find_data_set(folder)[0]
    assert (
        found
        is DATA_SETS[{"market_500k": "market", "university_satellite": "university"}.get(key, key)]
    )
    assert find_data_set(folder, key)[0] is DATA_SETS[key]
    data_set = DATA_SETS[key]
    lay_out(data_set, folder, folder / "pytorch")
    assert state(folder, folder / "pytorch") == before
    for split, expected in laid_out.items():
        assert [
            name for name in names(folder / "pytorch" / split) if not name.startswith(".")
        ] == sorted(expected)
    made = state(folder)
    assert set(lay_out(data_set, folder, folder / "pytorch")) == {"kept"}
    assert state(folder) == made
    splits = {
        split: read_split(folder / "pytorch", split)
        for split in ("train", "val", "train_all", "query", "gallery")
    }
    assert splits["train"].classes == splits["val"].classes == splits["train_all"].classes
    check_report(data_set, folder / "pytorch", splits)


def test_lists_that_do_not_fit_are_named(tmp_path):
    images, texts, _ = MINIATURES["cub"]
    write_data_set(tmp_path, images, texts)
    labels = tmp_path / next(name for name in texts if name.endswith("image_class_labels.txt"))
    first, *rest = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join(rest))
    with pytest.raises(UserError, match=r"image_class_labels\.txt: no class of 1 image"):
        lay_out(DATA_SETS["cub"], tmp_path, tmp_path / "pytorch")
    labels.write_bytes(b"\xff" + first.encode())
    with pytest.raises(UserError, match=r"image_class_labels\.txt: not text in UTF-8"):
        lay_out(DATA_SETS["cub"], tmp_path, tmp_path / "pytorch")


TRAINING = re.compile(
    r"(bounding_box_train|image_train|(rgb/)?train|rgb/val|mask_train_v2|scen[23])/|.*(list_train|list_val|train_list)"
)


@pytest.mark.parametrize("key", sorted(MINIATURES.keys() - {"cub", "viper"}))
def test_query_and_gallery_alone_are_laid_out_for_testing(key, tmp_path):
    images, texts, laid_out = MINIATURES[key]
    folder = tmp_path / key.removeprefix("cuhk03_")
    for_testing = [name for name in images if not TRAINING.match(name)]
    write_data_set(
        folder,
        for_testing,
        {name: text for name, text in texts.items() if not TRAINING.match(name)},
    )
    found = find_data_set(folder)[0]
    assert (
        found
        is DATA_SETS[{"market_500k": "market", "university_satellite": "university"}.get(key, key)]
    )
    data_set = find_data_set(folder, key)[0]
    lay_out(data_set, folder, folder / "pytorch")
    check_for_testing_alone(data_set, folder / "pytorch")
    # Cameras that no name gives are numbered, and have other numbers here.
    for split in laid_out.keys() & {"query", "gallery"}:
        expected = [name.split("/")[0] for name in laid_out[split]]
        assert sorted(
            path.parent.name for path in list_images(folder / "pytorch" / split)
        ) == sorted(expected)


@pytest.mark.parametrize("key", ["csv", "folder"])
def test_query_and_gallery_of_ones_own_are_laid_out_for_testing(key, tmp_path):
    for name in ("query/1_c1.jpg", "gallery/1_c2.jpg", "gallery/2_c2.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "list.csv").write_text(
        "path,identity,camera,split\nquery/1_c1.jpg,1,1,query\ngallery/1_c2.jpg,1,2,gallery\n"
    )
    flags = (
        {"csv": tmp_path / "list.csv"}
        if key == "csv"
        else {"pattern": r"(?P<id>\d+)_c(?P<camera>\d+)"}
    )
    data_set = with_flags(find_data_set(tmp_path, key)[0], flags)
    lay_out(data_set, tmp_path, tmp_path / "pytorch")
    check_for_testing_alone(data_set, tmp_path / "pytorch")


def check_for_testing_alone(data_set, folder):
    """A layout of query and gallery alone: report and train.py say so, and what to do instead."""
    splits = {path.name for path in folder.iterdir() if path.is_dir()}
    assert {"query", "gallery"} <= splits <= {"query", "gallery", "multi-query"}
    assert "train_all: the download has none." in describe_layout(data_set, folder)
    assert next_command(folder) == f"python test.py --name NAME --test_dir {folder}"
    for split in ("train", "train_all"):
        with pytest.raises(
            UserError, match="has nothing to train on. Test on it with python test.py"
        ):
            read_split(folder, split)


def check_report(data_set, folder, splits):
    """The report says that the miniature's counts differ from the published ones.

    Its own counts are as they are.
    """
    report = "\n".join(describe_layout(data_set, folder))
    assert f"published are {data_set.published['train_all'][0]:,} / " in report
    assert "warning: train_all has" in report
    assert data_set.note in report
    people = {split: found.labels[found.labels > 0] for split, found in splits.items()}
    counted = {
        split: (len(set(people[split].tolist())), len(found), len(set(found.cameras.tolist())))
        for split, found in splits.items()
    }
    assert "warning" not in "\n".join(describe_layout(replace(data_set, published=counted), folder))


def test_every_data_set_has_a_miniature_a_source_and_a_place_in_the_docs():
    elsewhere = {"market", "synthetic", "dg_market", "folder", "csv", "mot"}
    elsewhere |= {"cuhk03_original_detected", "cuhk03_original_labeled", "mars", "lsvid"}
    assert set(MINIATURES) | elsewhere == set(DATA_SETS)
    assert all(data_set.licence and data_set.source for data_set in DATA_SETS.values())
    expected = f"{DATA_SETS_MARKS[0]}\n\n{data_set_table()}\n{DATA_SETS_MARKS[1]}\n"
    assert expected in DATA_SETS_PAGE.read_text("utf-8"), "python tools/docs/datasets.py"
    assert "withdr" in DATA_SETS["duke"].get
    assert "withdr" in DATA_SETS["duke"].note


def test_duke_says_that_it_was_withdrawn(here):
    with pytest.raises(UserError, match="withdrawn by Duke University"):
        find_data_set(dataset="duke")


def test_vehicle_id_asks_all_but_one_image_of_each_vehicle(tmp_path):
    images, texts, _ = MINIATURES["vehicleid_800"]
    write_data_set(tmp_path, images, texts)
    drawn = set()
    for seed in range(8):
        reader = with_flags(DATA_SETS["vehicleid_800"], {"seed": seed}).read
        assert reader is not None
        splits = reader(tmp_path)
        assert sorted(picture.identity for picture in splits["gallery"]) == ["31", "40"]
        assert sorted(picture.identity for picture in splits["query"]) == ["31", "31", "40"]
        drawn.add(tuple(picture.source.name for picture in splits["gallery"]))
    assert len(drawn) > 1


def test_viper_seeds_draw_other_halves(tmp_path):
    for name in (f"cam_{camera}/{who:03d}_0.bmp" for who in range(20) for camera in "ab"):
        write_image(tmp_path / name)
    halves: dict[int, set[str]] = {}
    for seed in (0, 1, 1):
        reader = with_flags(DATA_SETS["viper"], {"seed": seed}).read
        assert reader is not None
        splits = reader(tmp_path)
        trained, asked = (
            {picture.identity for picture in splits[split]} for split in ("train_all", "query")
        )
        assert len(trained) == len(asked) == 10
        assert not trained & asked
        assert halves.setdefault(seed, trained) == trained
    assert halves[0] != halves[1]


def test_lists_with_missing_images_other_lines_or_other_names_are_refused(tmp_path):
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    for name, text in MSMT17.items():
        (tmp_path / name).write_text(text + "\n\n")
    with pytest.raises(
        UserError, match=r"7 image\(s\) listed but not in .*\n.*0000_000_15_0303morning"
    ):
        lay_out(DATA_SETS["msmt17_v1"], tmp_path, tmp_path / "out")
    (tmp_path / "list_val.txt").write_text("0001/somebody.jpg 1\n")
    with pytest.raises(UserError, match=r"1 name\(s\) that do not say the camera(?s:.*)somebody"):
        lay_out(DATA_SETS["msmt17_v1"], tmp_path, tmp_path / "out")
    (tmp_path / "list_val.txt").write_text("alone\n")
    with pytest.raises(UserError, match="list_val.txt: expected two words per line, found 'alone'"):
        lay_out(DATA_SETS["msmt17_v1"], tmp_path, tmp_path / "out")
    (tmp_path / "list_val.txt").unlink()  # one list to train on is there, the other is not
    with pytest.raises(UserError, match=r"list_val\.txt: no such file"):
        lay_out(DATA_SETS["msmt17_v1"], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_path_in_a_list_may_hold_spaces(tmp_path):
    (tmp_path / "list.txt").write_text("1 a b.jpg 2\n")
    assert read_columns(tmp_path / "list.txt") == [["1 a b.jpg", "2"]]
    assert read_columns(tmp_path / "list.txt", first=True) == [["1", "a b.jpg 2"]]


def test_two_data_sets_do_not_share_a_layout(tmp_path):
    write_images(tmp_path, UNIVERSITY)
    lay_out(DATA_SETS["university"], tmp_path, tmp_path / "pytorch")
    before = state(tmp_path)
    with pytest.raises(
        UserError, match=r"read as University-1652 \(drone → satellite\). Delete it first"
    ):
        lay_out(DATA_SETS["university_satellite"], tmp_path, tmp_path / "pytorch")
    assert state(tmp_path) == before


def test_unlabelled_images_stay_where_they_are(tmp_path):
    write_image(tmp_path / "deep" / "1.png")
    data_set, folder = find_data_set(tmp_path, "dg_market")
    report = "\n".join(describe_unlabelled(data_set, folder))
    assert "1 images without identities" in report
    assert f"--DG --DG_dir {tmp_path}" in report
    assert "has - / 1 / - identities / images / cameras; published are - / 128,307 / -" in report
