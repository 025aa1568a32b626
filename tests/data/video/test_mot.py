"""People cut out of miniature videos."""

import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.data.layout import read_split
from person_reid.data.video.mot import read_sequences
from person_reid.errors import UserError
from tests.data.conftest import noise

TRUTH = """\
1,1,5,10,20,40,1,1,1
1,2,60,10,20,40,1,1,0.9
1,3,30,10,20,40,0,1,1
1,4,30,10,20,40,1,8,1
1,5,30,10,20,40,1,1,0.2
2,1,6,10,20,40,1,1,1
3,1,-5,-10.4,20,40,1,1,0.51
3,2,90,50,200,300,1,1,1

3,6,96,10,20,40,1,1,1
"""


def write_sequence(folder, truth=TRUTH, frames=3):
    """Frames of 100×60 pixels of noise, and their boxes."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text(truth, encoding="utf-8")
    for number in range(1, frames + 1):
        Image.fromarray(noise(60, 100, seed=number)).save(folder / "img1" / f"{number:06d}.png")


def cut(folder, *flags):
    """{split: names} of the layout that prepare.py makes."""
    prepare.main(["--dataset", "mot", "--data_dir", str(folder), *flags])
    root = folder / "pytorch"
    return {
        part.name: sorted(path.name for path in part.glob("*/*"))
        for part in root.iterdir()
        if part.is_dir()
    }


def test_the_boxes_that_count_are_cut_out_of_their_frames(tmp_path):
    write_sequence(tmp_path / "walk")
    pictures = {
        picture.source.name: picture
        for picture in read_sequences(tmp_path, frame_stride=1, test_fraction=0)["train_all"]
    }
    assert sorted(pictures) == [
        "walk_000001_1.jpg", "walk_000001_2.jpg", "walk_000002_1.jpg", "walk_000003_1.jpg",
        "walk_000003_2.jpg",
    ]  # fmt: skip
    for name, (top, bottom, left, right) in {
        "walk_000001_1.jpg": (9, 49, 4, 24),
        "walk_000003_1.jpg": (0, 29, 0, 14),
        "walk_000003_2.jpg": (49, 60, 89, 100),
    }.items():
        pictures[name].source.save(tmp_path / name)
        frame = noise(60, 100, seed=int(name[5:11]))
        found = np.asarray(Image.open(tmp_path / name)).astype(int)
        assert found.shape == (bottom - top, right - left, 3)
        assert np.abs(found - frame[top:bottom, left:right]).mean() < 12  # JPEG of noise


@pytest.mark.parametrize(("orientation", "quarters"), [(3, 2), (6, 1), (8, 3)])
def test_frames_are_turned_as_exif_says(orientation, quarters, tmp_path):
    """A tracker, which sees the boxes upright, gives them."""
    for folder in ("upright", "turned"):
        write_sequence(tmp_path / folder / "walk")
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (tmp_path / "turned" / "walk" / "img1").iterdir():
        with Image.open(path) as image:
            stored = np.ascontiguousarray(np.rot90(np.asarray(image), quarters))
        Image.fromarray(stored).save(path, exif=exif)
    crops = []
    for folder in ("upright", "turned"):
        found = read_sequences(tmp_path / folder, frame_stride=1, test_fraction=0)["train_all"]
        for picture in found:
            picture.source.save(tmp_path / folder / picture.source.name)
        crops.append([(tmp_path / folder / each.source.name).read_bytes() for each in found])
    assert crops[0] == crops[1]
    assert len(crops[0]) == 5


def test_two_sequences_are_laid_out_together(tmp_path, capsys):
    for name in ("MOT17-02-DPM", "MOT17-02-SDP", "MOT17-04-SDP"):
        write_sequence(tmp_path / "train" / name)
    splits = cut(tmp_path, "--frame_stride", "2", "--seed", "3")
    # Two people, two frames.
    assert len(splits["train_all"]) == len(splits["gallery"]) == len(splits["query"]) == 4
    assert len(splits["val"]) == len(splits["train"]) == 2
    gallery = read_split(tmp_path / "pytorch", "gallery")
    assert [len(set(gallery.cameras[gallery.targets == person])) for person in (0, 1)] == [2, 2]
    capsys.readouterr()
    assert cut(tmp_path, "--frame_stride", "2", "--seed", "3") == splits
    assert "kept" in (said := capsys.readouterr().out)
    assert "extracted" not in said


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        ({}, 2),
        ({"frame_stride": 1}, 5),
        ({"frame_stride": 1, "min_visibility": 0}, 6),
        ({"min_visibility": 0.95}, 1),
    ],
)
def test_limits_on_visibility_and_frames_leave_boxes_out(flags, count, tmp_path):
    write_sequence(tmp_path / "walk")
    assert len(read_sequences(tmp_path, **flags, test_fraction=0)["train_all"]) == count


@pytest.mark.parametrize("columns", [7, 8])
def test_columns_that_are_missing_are_not_known(columns, tmp_path):
    lines = [line.split(",")[:columns] for line in TRUTH.split()]
    write_sequence(
        tmp_path / "walk",
        "\n".join(",".join(line) for line in lines if line[6] == "1" and line[1] != "4"),
    )
    assert len(read_sequences(tmp_path, frame_stride=1, test_fraction=0)["train_all"]) == 6


@pytest.mark.parametrize(
    ("truth", "flags", "message"),
    [
        ("1,1,5,10,20,40", {}, r"gt\.txt, line 1: expected frame,track,left"),
        ("1,1,5,10,20,forty,1", {}, "line 1: expected frame,track,left"),
        ("1,1,5,10,nan,40,1", {}, "line 1: expected frame,track,left"),
        ("11,1,5,10,20,40,1", {}, "line 1: frame 11 is not in .*img1"),
        ("1,1.5,5,10,20,40,1", {}, r"gt\.txt, line 1: track 1\.5 is not an identity"),
        ("\n1,-1,5,10,20,40,1", {}, "line 2: track -1 is not an identity"),
        ("1,1,5,10,20,40,0", {}, "no box is left of 1 sequences"),
    ],
)
def test_what_makes_no_sense_is_refused(truth, flags, message, tmp_path):
    write_sequence(tmp_path / "walk", truth)
    with pytest.raises(UserError, match=message):
        read_sequences(tmp_path, **flags)


def test_sequences_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    for place in ("monday/cam1", "tuesday/cam1", "tuesday/cam2-DPM", "tuesday/cam2-SDP"):
        write_sequence(tmp_path / place)
    people = {
        picture.identity
        for picture in read_sequences(tmp_path, frame_stride=1, test_fraction=0)["train_all"]
    }
    assert people == {
        f"{name}-{track}"
        for name in ("monday-cam1", "tuesday-cam1", "tuesday-cam2")
        for track in (1, 2)
    }


def test_a_corrected_box_is_cut_again(tmp_path, capsys):
    write_sequence(tmp_path / "walk")
    flags = "--frame_stride", "1", "--test_fraction", "0"
    cut(tmp_path, *flags)
    assert "kept" not in capsys.readouterr().out
    cut(tmp_path, *flags)
    assert "kept" in (output := capsys.readouterr().out)
    assert "extracted" not in output
    before = {path: path.read_bytes() for path in (tmp_path / "pytorch").glob("*/*/*.jpg")}
    truth = tmp_path / "walk" / "gt" / "gt.txt"
    truth.write_text(truth.read_text().replace("1,1,5,10,", "1,1,7,10,"))
    cut(tmp_path, *flags)
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"0001_c1_walk_000001_1.jpg"}


def test_a_byte_order_mark_and_ignored_lines_without_a_track_are_read_over(tmp_path):
    write_sequence(tmp_path / "walk", "\ufeff1,1,5,10,20,40,1\n1,-1,5,10,20,40,0\n")
    assert len(read_sequences(tmp_path, test_fraction=0)["train_all"]) == 1


def test_a_frame_of_another_size_is_named(tmp_path):
    write_sequence(tmp_path / "walk")
    Image.fromarray(noise(30, 50)).save(tmp_path / "walk" / "img1" / "000003.png")
    with pytest.raises(
        UserError,
        match=r"000003\.png: 50×30 pixels, and the first frame of its sequence has 100×60",
    ):
        cut(tmp_path, "--frame_stride", "1")


def test_missing_sequences_missing_frames_and_a_broken_frame_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no gt/gt\.txt at any depth"):
        read_sequences(tmp_path)
    write_sequence(tmp_path / "walk", frames=0)
    with pytest.raises(UserError, match=r"img1: no frames in it"):
        read_sequences(tmp_path)
    write_sequence(tmp_path / "walk2")
    for path in (tmp_path / "walk").rglob("gt.txt"):
        path.unlink()
    frame = tmp_path / "walk2" / "img1" / "000003.png"
    frame.write_bytes(frame.read_bytes()[:200])
    with pytest.raises(UserError, match=r"000003\.png: cannot be decoded"):
        cut(tmp_path, "--frame_stride", "1")
    assert not list((tmp_path / "pytorch").rglob("*.partial"))


TRACKER = """\
1,1,5,10,20,40,0.9,0,-1
1,2,60,10,20,40,0.8,0,-1
1,3,30,10,20,40,0.9,1,-1
2,1,6,10,20,40,0.9,0,-1
2,2,61,10,20,40,0.9,0,-1
2,3,31,10,20,40,0.9,1,-1
"""


def tracks_in(tmp_path, truth, **settings):
    """The tracks whose pictures are read."""
    write_sequence(tmp_path / "walk", truth)
    pictures = read_sequences(tmp_path, frame_stride=1, test_fraction=0, **settings)["train_all"]
    return sorted({picture.identity for picture in pictures})


def test_a_detectors_classes_are_those_of_coco_and_what_is_left_out_is_counted(tmp_path, caplog):
    """BoxMOT and Ultralytics write class 0 for a person and 1 for a bicycle, and no visibility."""
    caplog.set_level("INFO", "person_reid")
    assert tracks_in(tmp_path, TRACKER) == ["walk-1", "walk-2"]
    assert "numbered as in COCO" in caplog.text
    assert "class 1: 2 boxes skipped." in caplog.text


@pytest.mark.parametrize(
    ("kind", "people"), [(1, True), (2, True), (7, True), (-1, True), (3, False), (8, False)]
)
def test_motchallenge_has_three_classes_of_people(kind, people, tmp_path, caplog):
    truth = f"1,1,5,10,20,40,1,1,1\n1,2,60,10,20,40,1,{kind},1\n"
    assert ("walk-2" in tracks_in(tmp_path, truth)) == people
    assert (f"class {kind}: 1 box skipped." in caplog.text) != people
    assert "COCO" not in caplog.text


def test_one_sequence_shows_the_numbering_of_all(tmp_path):
    """A camera that sees only cars (2) beside one that sees people (0)."""
    write_sequence(tmp_path / "road", "1,9,5,10,20,40,1,2,-1\n")
    assert tracks_in(tmp_path, TRACKER) == ["walk-1", "walk-2"]


@pytest.mark.parametrize(
    ("classes", "tracks"), [("1", ["walk-3"]), ("0,1", ["walk-1", "walk-2", "walk-3"])]
)
def test_the_classes_to_read_can_be_named(classes, tracks, tmp_path):
    assert tracks_in(tmp_path, TRACKER, classes=classes) == tracks


@pytest.mark.parametrize("flag", ["--class", "--classes"])
def test_classes_that_are_not_there_or_not_numbers_are_refused(flag, tmp_path):
    write_sequence(tmp_path / "walk", TRACKER)
    with pytest.raises(UserError, match="no box is left of 1 sequences .* the classes 9 of 0, 1"):
        cut(tmp_path, flag, "9")
    with pytest.raises(UserError, match="class=people: expected numbers of classes"):
        cut(tmp_path, flag, "people")


def test_a_detectors_file_without_people_is_not_taken_for_motchallenges(tmp_path):
    """COCO's bicycles (1) and cars (2) are MOTChallenge's pedestrians and people on vehicles."""
    with pytest.raises(UserError, match="no box is left .* the classes -1, 0 of 1, 2"):
        tracks_in(tmp_path, "1,1,5,10,20,40,0.9,1,-1\n1,2,60,10,20,40,0.8,2,-1\n")


@pytest.mark.parametrize(
    "line", ["1,1,5,10,20,40,0.9,1,0.8", "1,1,5,10,20,40,1,1,-1", "1,1,5,10,20,40,0.9,-1,-1,-1"]
)
def test_a_visibility_a_certain_box_or_no_class_is_not_a_detectors(line, tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    assert tracks_in(tmp_path, line) == ["walk-1"]
    assert not caplog.text


def test_places_in_the_world_are_not_classes(tmp_path, caplog):
    """As some sequences of 2015 have them, in metres; a place may be a whole number."""
    truth = "1,1,5,10,20,40,1,-6.95,-10.1,0\n1,2,60,10,20,40,1,3,0.1,0\n"
    assert tracks_in(tmp_path, truth) == ["walk-1", "walk-2"]
    assert not caplog.text
