"""tools/search.py index --tracks: people of a tracker become images of an index."""

import re
import shutil
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.walks import FRAMES, shows, sides, write_frames, write_tracks, write_video
from person_reid.config.times import instant, moment
from person_reid.deploy.embedder import Embedder
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.track_records import record_tracks, recorded_tracks
from tests.support.flags import SAVED
from tests.support.weights import write_weights
from tools import gallery, search

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A folder with the frames of a camera, their tracks, and the weights of a network."""
    folder = tmp_path_factory.mktemp("camera")
    write_frames(folder / "hall")
    write_tracks(folder / "tracks.txt")
    write_weights(folder / "net.pth")
    return folder


@pytest.fixture
def place(here, camera):
    """A copy of it, which is the current folder."""
    shutil.copytree(camera, here, dirs_exist_ok=True)
    return here


def said(capsys, *words, frames="hall", fps=10):
    """The last line that the command prints."""
    rate = ["--fps", str(fps)] if fps else []
    files = ["--tracks", "tracks.txt", "--frames", frames, "--camera", "3", *rate]
    search.main(["index", *files, "--index", "people.index", "--gpu_ids", "-1", *SAVED, *words])
    return capsys.readouterr().out.splitlines()[-1]


def remarks(caplog):
    """The warnings that a command logged."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def entries():
    """[(path, About)] of the images in the index."""
    return [*chain.from_iterable(images for images, _ in SearchIndex("people.index").entries())]


def test_a_relocated_track_file_is_the_same_source(place, capsys):
    said(capsys, "--per_track", "4")
    (place / "films").mkdir()
    for name in ("hall", "tracks.txt"):
        Path(name).rename(place / "films" / name)
        gallery.main(["relocate", name, f"films/{name}", "--index", "people.index"])
    again = ["--per_track", "4", "--tracks", "films/tracks.txt"]
    assert "0 images added, 8 were there already" in said(capsys, *again, frames="films/hall")
    with (place / "films" / "tracks.txt").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match="changed since its images were indexed"):
        said(capsys, *again, frames="films/hall")


@pytest.mark.parametrize("keep", [False, True])
def test_what_was_cut_from_tracks_is_forgotten_with_them(place, capsys, keep):
    said(capsys, "--per_track", "4")
    crops = {path: about.track for path, about in entries()}
    assert len(crops) == 8
    assert all(path.is_file() for path in crops)
    forget = ["forget", "--index", "people.index", *["--keep_crops"][:keep]]
    search.main([*forget, "--track", "7"])
    assert {path for path in crops if path.is_file()} == {
        path for path, track in crops.items() if keep or track != "7"
    }
    search.main([*forget, "--camera", "3"])
    assert not entries()
    assert all(path.is_file() == keep for path in crops)
    assert next(iter(crops)).parent.exists() == keep


def test_only_what_was_cut_beside_the_index_is_deleted(place, capsys, caplog):
    said(capsys, "--crops", "elsewhere")
    elsewhere = sorted((place / "elsewhere").rglob("*.jpg"))
    index = SearchIndex("people.index")
    others = place / "thesis" / "000001_000001.jpg", place / "people.crops" / "x" / "mine.jpg"
    for other in others:  # as somebody's index may say
        other.parent.mkdir(parents=True)
        other.write_bytes(b"mine")
        feature = np.eye(1, index.width())
        index.add([other], feature, {other: About(source="../thesis", camera="3")})
    assert index.forget(Filter(camera="3"), "camera") == len(elsewhere) + 2
    assert all(map(Path.is_file, [*others, *elsewhere]))
    for folder, count in (
        (elsewhere[0].parent, f"{len(elsewhere)} images"),
        (others[0].parent, "1 image"),
    ):
        assert f"{folder}: {count} of what is forgotten" in caplog.text


def test_tracks_become_images_that_know_track_camera_time_and_source(place, capsys):
    words = "--start", "2026-11-01T09:30:00.5", "--per_track", "4"
    line = said(capsys, *words)
    assert line == (
        "people.index: 2 tracks of camera 3: 8 images added, 0 were there already, 8 in all"
    )
    (record,) = recorded_tracks(SearchIndex("people.index"))
    assert (record.camera, record.fps, record.start) == ("3", 10, instant(words[1]))
    assert [track.number for track in record.read()] == [7, 12]
    parts = []
    for path, about in entries():
        track, frame = map(int, path.stem.split("_"))
        assert about.track == str(track)
        assert (about.camera, about.source) == ("3", record.source)
        assert about.time == moment(f"2026-11-01 09:30:0{int(0.5 + (frame - 1) / 10)}")
        assert shows(path) == track
        assert path.is_relative_to(place / "people.crops")
        left, top, right, bottom = sides(track, frame)
        with Image.open(path) as image:
            assert image.size == (right - left, bottom - top)
        parts.append((track, (frame - 1) * 4 // FRAMES))
    assert sorted(parts) == [(track, part) for track in (7, 12) for part in range(4)]


def test_a_second_call_adds_nothing_and_a_lost_image_is_cut_again(place, capsys, monkeypatch):
    said(capsys)
    before = {path: path.stat().st_mtime_ns for path, _ in entries()}
    assert len(before) == 16
    assert "0 images added, 16 were there already, 16 in all" in said(capsys)
    assert {path: path.stat().st_mtime_ns for path, _ in entries()} == before
    min(before).unlink()
    assert "1 image added, 15 were there already, 16 in all" in said(capsys)


def test_a_second_call_may_add_the_time(place, capsys):
    said(capsys)
    assert {about.time for _, about in entries()} == {None}
    said(capsys, "--start", "2026-11-01", fps=None)
    assert min(about.time for _, about in entries()) >= moment("2026-11-01")
    said(capsys, fps=None)
    (record,) = recorded_tracks(SearchIndex("people.index"))
    assert (record.start, record.fps) == (moment("2026-11-01"), 10)


def test_a_changed_track_file_is_not_mixed_with_the_old_one(place, capsys):
    said(capsys)
    write_tracks(place / "tracks.txt", range(3, 10))
    with pytest.raises(UserError, match=r"forget --source hall-\w{8} --index people\.index") as end:
        said(capsys)
    source = re.search(r"--source (\S+)", str(end.value))[1]
    search.main(["forget", "--source", source, "--index", "people.index"])
    assert "2 tracks of camera 3: 14 images added, 0 were there" in said(capsys)
    assert all(about.source != source for _, about in entries())


def test_two_cameras_share_an_index(place, capsys):
    said(capsys, "--per_track", "1")
    assert "2 images added, 0 were there already, 4 in all" in said(
        capsys, "--camera", "4", "--tracks", str(write_tracks(place / "other.txt")), "--per_track",
        "1",
    )  # fmt: skip
    assert sorted((about.camera, about.track) for _, about in entries()) == [
        ("3", "12"), ("3", "7"), ("4", "12"), ("4", "7"),
    ]  # fmt: skip
    assert [record.camera for record in recorded_tracks(SearchIndex("people.index"))] == ["3", "4"]


def test_broken_frames_are_said_and_passed_over(place, capsys, caplog):
    for number in (5, 6):
        (place / "hall" / f"{number:06d}.png").write_bytes(b"no image")
    (place / "hall" / "000007.png").unlink()
    line = said(capsys, "--per_track", "24")
    assert "42 images added" in line
    assert (
        "skipped, because they cannot be decoded or have another size: frames 5, 6, 7 (3)."
        in caplog.text
    )


@pytest.mark.parametrize(
    ("frames", "move", "message", "images"),
    [
        (range(13, 37), (0, 0), "ends with frame 24, and the tracks with 36. Is it another vi", 16),
        (range(1, 10), (0, 0), "ends with frame 24, and the tracks with 9. If the tracker has", 16),
        (range(24, 25), (0, 0), "", 2),
        (range(1, 25), (28, 0), r"27 % of the boxes lie outside its frames of 96×64 pixels", 12),
    ],
    ids=["cut short", "another rate", "tracks of one box", "another size"],
)
def test_tracks_that_hardly_fit_are_said_in_a_line(
    frames, move, message, images, place, capsys, caplog
):
    write_tracks(place / "tracks.txt", frames, move)
    assert f" {images} images added" in said(capsys)
    lines = remarks(caplog)
    assert len(lines) == bool(message)
    assert re.search(message, "".join(lines))


def test_boxes_outside_of_the_frames_are_clipped_or_counted(place, capsys, caplog):
    (place / "tracks.txt").write_text("1,7,-4,-9,40,50,1\n1,8,200,300,40,50,1\n1,9,5,5,-9,-9,1\n")
    assert "1 image added" in said(capsys)
    with Image.open(entries()[0][0]) as image:
        assert image.size == (35, 40)
    assert "2 tracks without a box of at least 8×8 pixels within the frames skipped" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "nowhere.mp4"], "nowhere.mp4: no such video or folder of frames"),
        (["--frames", "."], "no frames in it, such as 000001.jpg"),
        (["--tracks", "nowhere.txt"], "No such file"),
    ],
)
def test_what_is_not_there_is_named(words, message, place, capsys):
    with pytest.raises((UserError, OSError), match=message):
        said(capsys, *words)
    assert not Path("people.index").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hall", "--fps", "10"], "fps=10.0 would be ignored without tracks"),
        (["hall", "--crops", "mine"], "crops=mine would be ignored without tracks"),
        ([], "Give images or folders of images, or tracks=FILE"),
        (["--tracks", "tracks.txt"], "tracks needs frames"),
        (["hall", "--tracks", "tracks.txt", "--frames", "hall"], "tracks excludes images"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, place, capsys):
    with pytest.raises(UserError, match=message):
        search.main(["index", *words, "--index", "people.index", "--gpu_ids", "-1", *SAVED])


def test_a_rate_and_a_camera_are_asked_for(place, capsys):
    with pytest.raises(UserError, match="hall: images have no frame rate. Give it: fps=30"):
        said(capsys, fps=None)
    files = ["--tracks", "tracks.txt", "--frames", "hall", "--fps", "10"]
    with pytest.raises(UserError, match=r"tracks\.txt: which camera is it of\?"):
        search.main(["index", *files, "--index", "people.index", "--gpu_ids", "-1", *SAVED])
    (place / "hall" / "seqinfo.ini").write_text("[Sequence]\nframeRate=20\n")
    said(capsys, fps=None)
    assert recorded_tracks(SearchIndex("people.index"))[0].fps == 20


def test_a_video_gives_the_same_people(place, capsys, caplog):
    pytest.importorskip("av")
    write_video(place / "hall.mp4")
    assert "16 images added" in said(capsys, frames="hall.mp4", fps=None)
    (record,) = recorded_tracks(SearchIndex("people.index"))
    assert record.fps == 10
    assert record.times[0] == [1, 0]
    assert not remarks(caplog)
    assert all(shows(path) == int(about.track) for path, about in entries())


def test_a_tracker_may_have_seen_every_third_frame_of_a_video(place, capsys, caplog):
    pytest.importorskip("av")
    write_video(place / "hall.mp4", rate=30)
    lines = write_tracks(place / "tracks.txt", range(1, FRAMES + 1, 3)).read_text().splitlines()
    fewer = [(int(line.split(",")[0]) // 3 + 1, line.partition(",")[2]) for line in lines]
    (place / "tracks.txt").write_text("".join(f"{frame},{rest}\n" for frame, rest in fewer))
    assert "16 images added" in said(capsys, frames="hall.mp4", fps=10)
    assert "1 of 3 frames is taken for a frame of the tracks" in caplog.text
    assert all(shows(path) == int(about.track) for path, about in entries())


def test_a_video_needs_pyav(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (place / "hall.mp4").write_bytes(b"a video")
    with pytest.raises(UserError, match=r'videos need PyAV: python -m pip install "\.\[v'):
        said(capsys, frames="hall.mp4")


def test_the_features_are_those_of_the_images(place, capsys):
    """A program that opens the images, as query and adapt do, sees what was indexed."""
    said(capsys, "--per_track", "2", "--codes", "float32")
    index = SearchIndex("people.index")
    paths = [path for path, _ in entries()]
    embedder = Embedder("test_resnet", weights="net.pth", device="cpu", size=(64, 32))
    found = np.concatenate([features for _, features in index.entries()])
    assert np.abs(embedder(paths) - found).max() < 1e-5


def test_a_video_without_its_tracks_is_no_image(place):
    (place / "film.mp4").write_bytes(b"a video")
    (place / "folder.mp4").mkdir()
    for name, message in (
        ("film.mp4", "a video. .* --tracks FILE: .*your-tracker.md says how"),
        ("folder.mp4", "no images in it"),
        ("none.mp4", "no such image or folder"),
    ):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            search.main(["index", name, "--index", "people.index", "--gpu_ids", "-1", *SAVED])


def test_a_record_names_no_folder_to_write_to(place, capsys):
    """Images are cut beside the index, or where --crops says in the same call."""
    said(capsys, "--crops", "elsewhere")
    with pytest.raises(UserError, match="were cut elsewhere. Name the folder: crops=.*elsewhere"):
        said(capsys)
    assert "16 were there already" in said(capsys, "--crops", "elsewhere")
    index = SearchIndex("people.index")
    (record,) = recorded_tracks(index)
    record_tracks(index, replace(record, crops=str(place / "thesis")))
    with pytest.raises(UserError, match="were cut elsewhere"):
        said(capsys)
    assert not (place / "thesis").exists()
    assert not (place / "people.crops").exists()


def test_a_rate_and_a_start_that_cannot_be_are_refused(place, capsys):
    with pytest.raises(UserError, match=r"tracks\.txt: .* is not of the years .* start, 0999-"):
        said(capsys, "--start", "0999-11-01T09:30:00Z")
    assert recorded_tracks(SearchIndex("people.index")) == []
