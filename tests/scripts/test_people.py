"""tools/people.py: from videos to people, without anybody's tracks."""

import csv
import re
import shutil
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from benchmarks.support.walks import (
    FRAMES,
    find_by_colour,
    shows,
    write_frames,
    write_tracks,
)
from person_reid.config.detector import DETECTOR_NAMES
from person_reid.deploy.embedder import Embedder
from person_reid.errors import UserError
from person_reid.gallery import adapted_network
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import known_network
from person_reid.gallery.metadata import About, Filter
from person_reid.show.style import FAINT, MANY
from person_reid.training.adaptation import Adaptation
from person_reid.video import detectors
from person_reid.video.detectors import DETECTORS, register_detector
from person_reid.video.tracker import Tracker
from tests.support.flags import SAVED
from tests.support.weights import write_weights
from tools import people, search


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A folder with the frames of two cameras, tracks of one, and the weights of a network."""
    folder = tmp_path_factory.mktemp("filmed")
    for camera in ("hall", "yard"):
        write_frames(folder / camera)
    write_tracks(folder / "hall.txt")
    write_weights(folder / "net.pth")
    return folder


@pytest.fixture
def place(here, filmed):
    """A copy of it, which is the current folder."""
    shutil.copytree(filmed, here, dirs_exist_ok=True)
    return here


@pytest.fixture
def frames_seen():
    """The frames that the detector "colours" has seen; a test may put functions of frames there."""
    seen = []

    def find(frame):
        seen.append(frame)
        return find_by_colour(frame)

    register_detector("colours", lambda device: find)
    yield seen
    del DETECTORS["colours"]
    DETECTOR_NAMES.remove("colours")


OWN = {".lock", ".person-reid-videos", ".person-reid-people"}  # files that stay


@pytest.fixture
def odd_detector(frames_seen):
    """What the detector "colours" finds in every frame, in a list."""
    given: list[Any] = []
    DETECTORS["colours"] = lambda device: lambda frame: given[0]
    return given


def run(*words):
    fixed = ["--detector", "colours", "--fps", "10", "--gpu_ids", "-1", "--threshold", "0.99"]
    people.main([*words, *fixed, *SAVED])


def people_in(folder):
    """{(camera, track): person}."""
    with (folder / "result" / "people.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["camera"], int(row["track"])): int(row["person"]) for row in csv.DictReader(file)
        }


def written(folder):
    """{name: content} of the files that a run leaves, besides the gallery."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".index" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_two_videos_lead_to_the_people_in_both(place, frames_seen, capsys, monkeypatch):
    monkeypatch.setattr("person_reid.progress.LINE_EVERY", 0)
    run("hall", "--camera", "gate=yard", "--start", "2026-11-01T09:30", "--save", "shop")
    found = people_in(Path("shop"))
    assert sorted(found) == [("gate", 1), ("gate", 2), ("hall", 1), ("hall", 2)]
    assert found["gate", 1] == found["hall", 1] != found["gate", 2] == found["hall", 2]
    said = capsys.readouterr()
    assert "2 people on 4 tracks, 2 seen by several cameras" in said.out
    assert f"tracking yard: {2 * FRAMES - 1} of {2 * FRAMES}, " in said.err  # of all videos

    names = {*written(Path("shop"))}
    assert {"people.png", "result/people.csv", "result/people.html"} <= names
    tracks = [name for name in names if name.startswith("result/") and name.endswith(".txt")]
    assert len(tracks) == 2
    assert len(frames_seen) == 2 * FRAMES


def test_a_copy_of_each_video_shows_everybody_in_the_colour_of_the_lanes(place, frames_seen):
    """Every second frame is looked at; the boxes of the others lie between."""
    av = pytest.importorskip("av")
    run("hall", "--camera", "gate=yard", "--save", "shop", "--every", "2", "--video")
    result = Path("shop/result")
    assert not [*result.glob(".*.partial")]
    for tracks in result.glob("*.txt"):
        with av.open(str(tracks.with_suffix(".mp4"))) as video:
            frames = [*video.decode(video=0)]
        assert [frame.time for frame in frames] == pytest.approx(np.arange(FRAMES) / 10, abs=1e-4)
        seen = np.loadtxt(tracks, delimiter=",")
        assert {*seen[:, 0] % 2} == {1}
        sides = {
            person: np.stack([np.interp(range(1, FRAMES), own[:, 0], side) for side in own.T[2:6]])
            for person in (1, 2)
            for own in [seen[seen[:, 1] == person]]
        }
        apart = np.abs(sides[1][0] - sides[2][0]) > sides[1][2] + 8
        assert apart.sum() > FRAMES / 2
        for person, colour in zip((1, 2), MANY, strict=False):
            for place in np.flatnonzero(apart).tolist():
                left, top, width, height = sides[person][:, place]
                pixels = frames[place].to_ndarray(format="rgb24").astype(int)
                bottom = pixels[round(top + height) - 2, round(left + width / 2)]
                assert np.abs(bottom - 255 * np.array(to_rgb(colour))).max() < 90


def test_a_folder_whose_boxes_were_linked_by_looks_keeps_to_it(place, frames_seen, monkeypatch):
    given = []
    update = Tracker.update

    def note(tracker, *arguments):
        given.append(arguments[-1])
        return update(tracker, *arguments)

    monkeypatch.setattr(Tracker, "update", note)
    run("hall", "--appearance", "--save", "shop")
    assert {each.shape for each in given} == {(2, 96)}
    np.testing.assert_allclose(np.linalg.norm(given[-1], axis=1), 1, rtol=1e-4)
    assert sorted(people_in(Path("shop"))) == [("hall", 1), ("hall", 2)]
    with pytest.raises(UserError, match="other options: .*appearance True, now False"):
        run("hall", "--save", "shop")


def test_an_interrupted_call_goes_on_and_writes_the_same_files(place, frames_seen, monkeypatch):
    words = "hall", "yard", "--save", "shop", "--every", "2"

    def stop(self, *arguments):
        if len(frames_seen) > FRAMES // 2 + 3:
            raise KeyboardInterrupt
        return update(self, *arguments)

    update = Tracker.update
    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "update", lambda self, *a, **b: stop(self, *a, *b.values()))
        with pytest.raises(KeyboardInterrupt):
            run(*words)
    assert len(list(Path("shop/tracks").glob("*.txt"))) == 1

    frames_seen.clear()
    run(*words)
    assert len(frames_seen) == FRAMES // 2  # of the second video alone
    resumed = written(Path("shop"))
    frames_seen.clear()
    run(*words)
    assert not frames_seen
    assert written(Path("shop")) == resumed

    shutil.rmtree("shop")
    run(*words)
    undisturbed = written(Path("shop"))
    assert resumed.keys() == undisturbed.keys()
    assert [name for name in resumed if resumed[name] != undisturbed[name]] == []


def test_a_call_that_was_killed_before_it_marked_its_folder_goes_on(place, frames_seen):
    Path("shop").mkdir()
    for name in (".lock", ".person-reid-videos.half"):
        (Path("shop") / name).touch()
    run("hall", "--save", "shop")
    assert people_in(Path("shop"))


def test_the_network_adapts_to_the_tracks_once_and_a_worse_one_is_not_taken(
    place, frames_seen, capsys, monkeypatch
):
    """The features of the index are those of the new network; the next call has it already."""
    few: dict[str, Any] = {
        "k1": 4,
        "k2": 2,
        "min_samples": 2,
        "steps": 2,
        "total_epoch": 1,
        "batchsize": 8,
    }
    original = adapted_network.adaptation_of
    trained = []

    def quickly(*asked):
        options = original(*asked)
        trained.append(options)
        return options and replace(options, **few)

    monkeypatch.setattr(people, "adaptation_of", quickly)
    run("hall", "yard", "--save", "shop")
    with closing(SearchIndex(Path("shop/people.index"))) as index:
        before = known_network(index)
    run("hall", "yard", "--save", "shop", "--adapt")
    assert "the network stays: 4 tracks of about" in capsys.readouterr().out
    assert not Path("shop/adaptation").exists()
    trained.clear()
    monkeypatch.setattr(adapted_network, "TRACKS_OF_PERSON", 1)
    monkeypatch.setattr(Adaptation, "fault", lambda adaptation: "it is worse")
    run("hall", "yard", "--save", "shop", "--adapt")
    assert "the network stays: it is worse" in capsys.readouterr().out
    with closing(SearchIndex(Path("shop/people.index"))) as index:
        assert known_network(index) == before
    monkeypatch.setattr(Adaptation, "fault", lambda adaptation: "")
    for file in Path("shop/adaptation").glob("*.txt"):
        file.unlink()
    for _ in range(2):
        run("hall", "yard", "--save", "shop", "--adapt")
    assert "the network was adapted" in capsys.readouterr().out
    assert [bool(options) for options in trained] == [True, True, False]
    assert len(frames_seen) == 2 * FRAMES
    with closing(SearchIndex(Path("shop/people.index"))) as index:
        network = known_network(index)
        paths, features = next(iter(index.entries(Filter())))
    assert Path(network.place).parent == place / "shop"
    embed = Embedder.from_pretrained(network.place)
    expected = embed([path for path, _ in paths])
    np.testing.assert_allclose(features, expected, atol=1e-2)
    other = Embedder("test_resnet", weights="net.pth", size=(64, 32))([path for path, _ in paths])
    assert not np.allclose(features, other, atol=1e-2)


def test_what_was_corrected_is_kept_and_goes_with_a_folder_that_moves(place, frames_seen, capsys):
    words = "hall", "yard", "--start", "2026-11-01T09:30"
    run(*words, "--save", "shop")
    before = people_in(Path("shop"))
    crops = sorted(Path("shop/people.crops").rglob("*.jpg"))
    lines = [
        f"{crop},{crop.parent.name},{'Anna' if crop.parent.name.startswith('hall') else 'Bert'}\n"
        for crop in crops
        if crop.name.startswith("000001_")
    ]
    Path("said.csv").write_text(f"path,source,identity\n{''.join(lines)}")
    capsys.readouterr()
    run(*words, "--save", "shop", "--corrections", "said.csv")
    said = capsys.readouterr().out
    assert "Anna: hall 2026-11-01 09:30:00 to 09:30:02\n" in said
    assert "Bert: yard 2026-11-01 09:30:00 to 09:30:02\n" in said
    corrected = people_in(Path("shop"))
    assert before["hall", 1] == before["yard", 1]
    assert corrected["hall", 1] != corrected["yard", 1]

    frames_seen.clear()
    Path("shop").rename("market")
    run(*words, "--save", "market")
    assert people_in(Path("market")) == corrected
    assert not frames_seen
    assert [path.relative_to("market") for path in sorted(Path("market").rglob("*.jpg"))] == [
        crop.relative_to("shop") for crop in crops
    ]
    run(*words, "--save", "market", "--corrections", "said.csv")  # which names the old folder
    assert people_in(Path("market")) == corrected


def test_who_is_forgotten_leaves_the_page_the_picture_and_the_tables(place, frames_seen, capsys):
    run("hall", "yard", "--save", "shop", "--threshold", "0.9")
    index = SearchIndex("shop/people.index")
    paths = [
        path
        for images, _ in index.entries()
        for path, about in images
        if (about.camera, about.track) == ("hall", "1")
    ]
    index.describe(dict.fromkeys(paths, About(identity="Anna")))
    Path("shop/tracks/.hall-1.txt.0.partial").touch()
    before = Path("shop/people.png").read_bytes()
    capsys.readouterr()
    search.main(["forget", "--identity", "Anna", "--index", "shop/people.index"])
    assert {*people_in(Path("shop"))} == {("hall", 2), ("yard", 1), ("yard", 2)}
    assert Path("shop/people.png").read_bytes() != before
    names = [f"{path.parent.name}/{path.name}".encode() for path in paths]
    for name, content in written(Path("shop")).items():
        assert "tracks/" in name or not any(each in content for each in (b"Anna", *names))
    said = capsys.readouterr().out
    for words in ("now: .*result", "now: .*people.png", "stays: .*hall-", "stays: .*partial"):
        assert re.search(words, said)

    search.main(["forget", "--camera", "hall", "--index", "shop/people.index"])
    search.main(["forget", "--camera", "yard", "--index", "shop/people.index"])
    assert not Path("shop/result").exists()
    assert not Path("shop/people.png").exists()


def test_tracks_of_another_program_take_the_place_of_the_detector(place, frames_seen):
    words = "hall", "yard", "--tracks", "hall=hall.txt", "--save", "shop"
    run(*words, "--index", "people.index")
    found = people_in(Path("shop"))
    assert {track for camera, track in found if camera == "hall"} == {7, 12}
    assert len(frames_seen) == FRAMES
    (folder,) = {path.parent for path in Path("people.crops").rglob("000007_*.jpg")}
    assert {shows(path) for path in folder.glob("000007_*.jpg")} == {7}
    assert len(SearchIndex("people.index"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give videos, or --camera"),
        (["gone.mp4"], "gone.mp4: no such video"),
        (["hall", "--camera", "a=hall"], "named twice"),
        (["hall", "--camera", "a"], "expected NAME=VIDEO"),
        (["hall", "yard", "--tracks", "hall.txt"], "tracks=hall.txt: of which video"),
        (["hall", "--start", "2026-11-01", "2026-11-02"], "two values for all videos"),
        (["hall", "--start", "yesterday"], "yesterday"),
        (["hall", "--fps", "0"], "expected a number from 0.01"),
        (["hall", "--travel", "net.pth"], "nobody knows when hall begins"),
        (["hall", "yard", "--tracks", "hall=gone.txt"], "gone.txt: no such file"),
        (["hall", "--tracks", "hall.txt", "--every", "2"], "every, detector would be ignored"),
        (["hall", "--save", "hall"], "did not write. Choose another folder"),
        (["hall", "--backbone", "osnet_x0_25", "--weights", "gone.pth"], "gone.pth"),
        (["hall", "--detector", "hall.txt"], "hall.txt: expected a detector"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    place, frames_seen, capsys, words, said
):
    before = sorted(place.rglob("*"))
    fixed = ["--fps", "10", "--gpu_ids", "-1", *SAVED, "--detector", "colours"]
    try:
        people.main([*fixed, *words])
        raise AssertionError("nothing was refused")
    except (UserError, OSError) as error:
        message = str(error)
    except SystemExit:
        message = capsys.readouterr().err
    assert re.search(said, message)
    new = [path for path in place.rglob("*") if path not in before and path.is_file()]
    assert [path for path in new if not path.name.startswith(".")] == []  # a lock may stay


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            ([[np.nan] * 4] * 3, [0.9] * 3),
            "left out 72 boxes that lie outside the frame or are not",
        ),
        (([[0, 0, 9, 40]] * 30, [0.9] * 30), "left out 600 boxes beyond the 5"),
        (([], []), "nobody was found"),
        (([[1, 2, 3]], [0.9]), r"colours: expected boxes \(N, 4\) and scores"),
        (None, "colours: expected \\(boxes, scores\\) for a frame, found NoneType"),
    ],
)
def test_a_detector_of_odd_results_is_said_in_a_line_and_leaves_nothing_half(
    place, odd_detector, found, said, monkeypatch, caplog
):
    monkeypatch.setattr(detectors, "MOST_BOXES", 5)
    odd_detector.append(found)
    try:
        run("hall", "--save", "shop")
        message = ""
    except UserError as error:
        message = str(error)
        assert not Path("shop/people.index").exists()
        assert not Path("shop/result").exists()
    lines = [record.getMessage() for record in caplog.records] + [message]
    assert len([line for line in lines if re.search(said, line)]) == 1
    for file in Path("shop/tracks").glob("*.txt"):
        assert file.with_suffix(".json").exists()
    assert [
        path for path in Path("shop").rglob(".*") if path.is_file() and path.name not in OWN
    ] == []


@pytest.mark.parametrize("content", [b"", b"\0" * 3000])
def test_a_video_that_is_not_one_stops_the_call_before_the_others_are_read(
    place, frames_seen, content
):
    pytest.importorskip("av")
    Path("gate.mp4").write_bytes(content)
    with pytest.raises(UserError, match="gate.mp4: cannot be opened as a video"):
        run("hall", "gate.mp4", "--save", "shop")
    assert not frames_seen
    assert not Path("shop").exists()


def test_a_video_without_anybody_is_no_fault_unless_all_are(place, frames_seen, capsys):
    for file in Path("yard").iterdir():
        Image.new("RGB", (96, 64)).save(file)
    run("hall", "yard", "--save", "shop")
    assert {camera for camera, _ in people_in(Path("shop"))} == {"hall"}
    with pytest.raises(UserError, match="nobody was found"):
        run("yard", "--save", "empty")
    assert not Path("empty/people.index").exists()
    enroll = ["enroll", "Anna", "hall/000001.png", "--index", "staff.index", "--gpu_ids", "-1"]
    search.main([*enroll, *SAVED])
    with pytest.raises(UserError, match="nobody was found"):
        run("yard", "--index", "staff.index", "--save", "empty")


def test_live_cameras_tell_who_appears_and_write_the_same_files(place, frames_seen, capsys):
    run("hall", "--camera", "gate=yard", "--live", "--fps", "50", "--save", "shop")
    said = capsys.readouterr().out
    found = people_in(Path("shop"))
    assert sorted(found) == [("gate", 1), ("gate", 2), ("hall", 1), ("hall", 2)]
    assert found["gate", 1] == found["hall", 1] != found["gate", 2] == found["hall", 2]
    for (camera, track), person in found.items():
        assert f"{camera}: track {track} is person {person:04}\n" in said
    assert "hall: 24 frames, " in said
    assert "opened 1 time" in said
    assert {"people.png", "result/people.csv", "result/people.html"} <= {*written(Path("shop"))}
    (folder,) = Path("shop").glob("people.crops/hall-*")
    for track in (1, 2):
        assert len({shows(path) for path in folder.glob(f"00000{track}_*.jpg")}) == 1


def test_live_cameras_are_also_written_with_who_is_who(place, frames_seen, capsys):
    av = pytest.importorskip("av")
    run("hall", "--live", "--save", "shop", "--video")
    (path,) = Path("shop").glob("hall-*.mp4")
    with av.open(str(path)) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        seconds = float(video.duration / 10**6)
    assert len(pictures) == len(frames_seen) > FRAMES / 2
    assert seconds == pytest.approx(FRAMES / 10, abs=0.3)

    def shown(colour):
        wanted = 255 * np.array(to_rgb(colour))
        return [bool((np.abs(each - wanted).max(axis=2) < 40).any()) for each in pictures]

    known = shown(MANY[1])
    assert shown(FAINT)[0]
    assert not known[0]
    assert known[-1]
    search.main(["forget", "--camera", "hall", "--index", "shop/people.index"])
    assert f"stays: {path}" in capsys.readouterr().out


def test_ctrl_c_ends_live_cameras_and_writes_the_files(place, frames_seen, capsys):
    def stopped(frame):
        if len(frames_seen) == FRAMES // 2:
            signal.raise_signal(signal.SIGINT)
        frames_seen.append(frame)
        return find_by_colour(frame)

    DETECTORS["colours"] = lambda device: stopped
    before = signal.getsignal(signal.SIGINT)
    run("hall", "--live", "--save", "shop")
    assert signal.getsignal(signal.SIGINT) is before
    assert len(frames_seen) <= FRAMES // 2 + 1
    assert sorted(people_in(Path("shop"))) == [("hall", 1), ("hall", 2)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hall", "--live", "--per_track", "3"], "per_track would be ignored"),
        (["rtsp://127.0.0.1:1/x", "gone.mp4"], "gone.mp4: no such video, and not an address"),
        (["rtsp://a/x", "rtsp://b/x"], "Two cameras have one name"),
        (["hall", "--live", "--remember", "3"], "expected a number of 10 or more"),
    ],
)
def test_what_live_cameras_cannot_do_is_refused(place, frames_seen, capsys, words, said):
    with pytest.raises((UserError, SystemExit)) as refused:
        run(*words)
    assert said in f"{refused.value}{capsys.readouterr().err}"
    assert not Path("people").exists()
