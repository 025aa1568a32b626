"""Lines of track files: what is read is what is written with other identities."""

import re
from pathlib import Path

import numpy as np
import pytest

from person_reid.config.prepare import TRACK_FORMAT_NAMES
from person_reid.data.video.mot import read_sequences
from person_reid.data.video.track_files import TRACK_FORMATS, files_of, read_boxes, write_identities
from person_reid.data.video.tracked_boxes import read_tracks
from person_reid.errors import UserError
from tests.data.video.test_mot import write_sequence
from tests.data.video.test_tracks import write

LINES = ["1,7,5,10,20,40,0.9,-1,-1,-1", "1,8,60,10,20,40,0.9,-1,-1,-1", "2,7,5,10,20,40,0.9,-1,-1"]
ENDS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\n\n\r"]
SPACES = [" ", "\t", "\u00a0", "\u2003", "\u3000"]


def read_back(path):
    """{track: frames} of a file or folder."""
    return {track.number: track.frames.tolist() for track in read_tracks(path, fps=1)}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("last", ["", "\n"])
def test_lines_end_in_one_way_for_reading_and_writing(end, last, tmp_path):
    path, new = tmp_path / "tracks.txt", tmp_path / "new.txt"
    text = end.join(LINES) + last
    path.write_bytes(text.encode())
    assert read_back(path) == {7: [1, 2], 8: [1]}
    write_identities(path, new, lambda track, _: {7: 21, 8: 30}[track])
    assert read_back(new) == {21: [1, 2], 30: [1]}
    assert new.read_bytes() == text.replace(",7,", ",21,").replace(",8,", ",30,").encode()


@pytest.mark.parametrize("space", SPACES)
def test_spaces_and_digits_of_any_script_are_read_and_written(space, tmp_path):
    path, new = tmp_path / "tracks.txt", tmp_path / "new.txt"
    lines = [f"{space}1,{space}\uff17{space},5,10,20,40,1", f"2,\u0668,5,{space}10,20,40,1"]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert read_back(path) == {7: [1], 8: [2]}
    write_identities(path, new, lambda track, _: {7: 21, 8: 30}[track])
    written = ["\ufeff" + lines[0].replace("\uff17", "21"), lines[1].replace("\u0668", "30")]
    assert new.read_bytes().decode() == "\n".join(written)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("space", SPACES)
def test_labels_are_read_with_any_spaces_and_line_ends(end, space, tmp_path):
    line = space.join(("0", "0.5", "0.5", "0.1", "0.2", "{}"))
    text = end.join((line.format(7), line.format(8) + space))
    folder = write(tmp_path / "labels", {})
    (folder / "v_1.txt").write_bytes(text.encode())
    assert read_back(folder) == {7: [1], 8: [1]}
    write_identities(folder, tmp_path / "new", lambda track, _: {7: 21, 8: 30}[track])
    assert read_back(tmp_path / "new") == {21: [1], 30: [1]}
    expected = end.join((line.format(21), line.format(30) + space))
    assert (tmp_path / "new" / "v_1.txt").read_bytes() == expected.encode()


def test_bytes_that_are_no_text_stay(tmp_path):
    path = tmp_path / "tracks.txt"
    path.write_bytes(b"1,7,5,10,20,40,1\n2,7,5,10,20,\xff,1\n")
    with pytest.raises(UserError, match="line 2: expected frame,track,left"):
        read_boxes(path)


@pytest.mark.parametrize("zero", [0, 1])
def test_an_identity_may_change_within_a_track(zero, tmp_path):
    """Frames are counted from 1, also where the file counts them from 0."""
    path, new = tmp_path / "tracks.txt", tmp_path / "new.txt"
    path.write_text("".join(f"{frame + zero},7,5,10,20,40,1\n" for frame in range(4)))
    write_identities(path, new, lambda track, frame: 20 + frame, first_frame=zero)
    assert [line.split(",")[1] for line in new.read_text().splitlines()] == ["21", "22", "23", "24"]


def test_a_track_of_another_class_is_another_one(tmp_path):
    """Trackers may count each class from 1: person 1 and car 1 are in one frame."""
    path, new = tmp_path / "tracks.txt", tmp_path / "new.txt"
    lines = ["1,1,5,10,20,40,0.9,0", "1,1,60,10,20,40,0.9,2", "2,1,5,10,20,40,0.9,0"]
    path.write_text("\n".join(lines))
    other = {(1, 2): 30}
    write_identities(path, new, lambda *_: 20, other=lambda *found: other[found])
    assert [line.split(",")[1] for line in new.read_text().splitlines()] == ["20", "30", "20"]
    write_identities(path, new, lambda *_: 20, classes="2", other=lambda *_: 30)
    assert [line.split(",")[1] for line in new.read_text().splitlines()] == ["30", "20", "30"]


def test_the_classes_of_cvat_are_those_of_its_labels(tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    truth = "1,1,5,10,20,30,1,1,1\n1,2,60,10,20,30,1,2,1\n1,3,30,10,20,30,1,3,1\n"
    for name, labels in (("street", "car\nPerson\nbus\n"), ("shop", "\ufeffperson\nshelf\n")):
        write_sequence(tmp_path / name, truth, 1)
        (tmp_path / name / "gt" / "labels.txt").write_text(labels)
    write_sequence(tmp_path / "plain", truth, 1)
    found = {name: [*read_back(tmp_path / name / "gt" / "gt.txt")] for name in ("street", "shop")}
    assert found == {"street": [2], "shop": [1]}
    assert "1 is car, 2 is Person, 3 is bus." in caplog.text
    assert [*read_back(tmp_path / "plain" / "gt" / "gt.txt")] == [1, 2]
    pictures = read_sequences(tmp_path, frame_stride=1, test_fraction=0)["train_all"]
    assert sorted(picture.identity for picture in pictures) == [
        "plain-1", "plain-2", "shop-1", "street-2",
    ]  # fmt: skip


def test_what_is_no_label_is_neither_read_nor_written(tmp_path):
    line = "0 0.5 0.5 0.1 0.2 7\n"
    names = {"v_1.txt": line, "v_2.txt": line, "v_1_old.txt": line, "notes.txt": "by 7\n"}
    folder = write(tmp_path / "labels", names)
    assert read_back(folder) == {7: [1, 2]}
    assert [file.name for file in files_of(folder)] == ["v_1.txt", "v_2.txt"]
    write_identities(folder, tmp_path / "new", lambda track, _: {7: 21}[track])
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["v_1.txt", "v_2.txt"]


def test_labels_with_numbers_of_13_digits_keep_their_identities(tmp_path):
    line = "0 0.5 0.5 0.1 0.2 {}\n"
    names = {f"1730451600{i}00.txt": line.format(7 + i % 2) for i in range(4)}
    folder = write(tmp_path / "labels", names)
    images = {Path(name).stem: number for number, name in enumerate(names, 1)}
    write_identities(
        folder, tmp_path / "new", lambda track, _: {7: 21, 8: 30}[track], images=images
    )
    written = [(tmp_path / "new" / name).read_text() for name in names]
    assert written == [line.format(identity) for identity in (21, 30, 21, 30)]
    with pytest.raises(UserError, match="put the folder of images back"):
        read_boxes(folder)


def boxmot_evaluation(chair, frames=range(1, 11)):
    """frame, track, box, confidence, COCO's class plus 1, and the number of the detection."""
    lines = []
    for n in frames:
        lines += [f"{n},1,10,6,6,12,0.810000,1,0", f"{n},2,20,6,6,12,0.820000,1,1"]
        lines += [f"{n},3,12,10,4,4,0.600000,57,2"] * chair
    return "\n".join(lines) + "\n"


def test_boxmots_evaluation_has_people_and_no_visibility(tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    path = write(tmp_path / "tracks.txt", boxmot_evaluation(chair=True))
    assert read_back(path) == {1: [*range(1, 11)], 2: [*range(1, 11)]}
    assert "COCO's plus 1, as BoxMOT writes them to evaluate" in caplog.text
    assert "class 57: 10 boxes skipped." in caplog.text
    form, boxes = read_boxes(path)
    assert form is TRACK_FORMATS["boxmot_eval"]
    assert {box.visibility for box in boxes} == {-1}


def test_people_of_boxmots_evaluation_become_images(tmp_path):
    truth = boxmot_evaluation(chair=True, frames=range(1, 4)).replace(",6,6,12,", ",6,20,40,")
    write_sequence(tmp_path / "walk", truth)
    found = read_sequences(tmp_path, frame_stride=1, test_fraction=0)["train_all"]
    assert sorted(picture.identity for picture in found) == ["walk-1"] * 3 + ["walk-2"] * 3


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        # A visibility of one box a frame, of two, and of some.
        ("1,1,5,9,9,9,0.9,1,1\n2,1,5,9,9,9,0.9,1,1\n", "mot"),
        ("1,1,5,9,9,9,0.9,1,1\n1,2,5,9,9,9,0.9,1,1\n", "mot"),
        ("1,1,5,9,9,9,0.9,1,0.5\n1,2,5,9,9,9,0.9,1,1\n", "mot"),
        ("1,1,5,9,9,9,1,1,0\n1,2,5,9,9,9,1,1,1\n", "mot"),
        ("1,1,5,9,9,9,0.9,1,0\n1,2,5,9,9,9,0.9,1,1\n", "mot"),  # 0 and 1 may be visibilities
        ("1,1,5,9,9,9,0.9,-1,-1,-1\n", "mot"),
        ("1,1,5,9,9,9,0.9,0,-1\n", "boxmot"),
        ("1,1,5,9,9,9,0.9,0,1\n", "boxmot"),
        ("1,1,5,9,9,9,0.9,1,2\n", "boxmot_eval"),
        ("1,1,5,9,9,9,1,-6.9,-10.1,0\n", "mot15"),
        ({"v_1.txt": "0 0.5 0.5 0.1 0.2 7\n"}, "ultralytics"),
        ({"v_1.txt": "0 0.5 0.5 0.1 0.2 0.7\n"}, "ultralytics_conf"),
    ],
)
def test_lines_show_their_format(lines, name, tmp_path):
    assert read_boxes(write(tmp_path / "tracks", lines))[0] is TRACK_FORMATS[name]


def test_a_format_that_is_named_decides(tmp_path):
    path = write(tmp_path / "tracks.txt", boxmot_evaluation(chair=False))
    assert [box.visibility for box in read_boxes(path, "mot")[1]][:2] == [0, 1]
    truth = boxmot_evaluation(chair=False, frames=[1]).replace(",6,6,12,", ",6,20,40,")
    write_sequence(tmp_path / "walk", truth)
    found = read_sequences(tmp_path, frame_stride=1, test_fraction=0, format="mot")
    assert [picture.identity for picture in found["train_all"]] == ["walk-2"]
    with pytest.raises(UserError, match="a file; format=ultralytics is about a folder. Leave f"):
        read_boxes(path, "ultralytics")


def test_every_format_can_be_named():
    assert {*TRACK_FORMAT_NAMES} == {*TRACK_FORMATS}


def test_random_lines_are_read_and_written_alike(tmp_path):
    """Whatever a file holds: it is refused, or its tracks come back with the new identities."""
    random = np.random.default_rng(0)
    pieces = ["1", "7", "8", ",", ",", ",", "5", "0.9", " ", "\r", "\x0c", "\x85", "\u3000", "-1"]
    usual, read = "1,7,5,10,20,40,1", 0
    for number in range(300):
        lines: list[str] = []
        for _ in range(4):
            line = usual
            if random.random() < 0.3:
                place = random.integers(len(line) + 1)
                line = line[:place] + str(random.choice(pieces)) + line[place:]
            lines.append(line.replace("1,7", f"{len(lines) + 1},{random.integers(1, 4)}", 1))
        path, new = tmp_path / f"{number}.txt", tmp_path / f"{number}_new.txt"
        path.write_bytes(str(random.choice(["\n", "\r", "\x0b"])).join(lines).encode())
        try:
            before = read_back(path)
        except UserError:
            continue
        read += 1
        write_identities(path, new, lambda track, _: track + 100)
        assert read_back(new) == {track + 100: frames for track, frames in before.items()}
        assert re.sub(rb"\d", b"", new.read_bytes()) == re.sub(rb"\d", b"", path.read_bytes())
    assert read > 50
