"""Annotated videos: each frame is whole, and only videos are drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.walks import FRAMES, draw_frame, find_by_colour, write_video
from person_reid.config.people import LinkOptions
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_tracks import indexed_tracks
from person_reid.gallery.linked_tracks import link_indexed
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.gallery.people_videos import open_video, write_people_videos
from person_reid.video.live import LivePeople
from tests.support.camera_tracks import fill

av = pytest.importorskip("av")


def with_white_quarter(width, height):
    pixels = np.full((height, width, 3), 60, np.uint8)
    pixels[height // 2 :, width // 2 :] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(128, 96), (320, 240), (161, 121), (160, 240)])
def test_a_frame_of_another_size_is_whole(tmp_path, size):
    with open_video(tmp_path / "door.mp4", 25.0) as add:
        for number in range(6):
            add(number / 25, with_white_quarter(*((160, 120) if number < 3 else size)))
    with av.open(str(tmp_path / "door.mp4")) as video:
        frames = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert {frame.shape for frame in frames} == {(120, 160)}
    picture = min(1, size[0] / size[1] / (160 / 120))  # the rest is black
    for frame, share in zip(frames, [1] * 3 + [picture] * 3, strict=True):
        assert (frame > 200).mean() == pytest.approx(share / 4, abs=0.02)
        assert (frame > 30).mean() == pytest.approx(share, abs=0.02)


def test_live_cameras_and_missing_videos_are_listed_and_the_others_drawn(tmp_path, caplog):
    index = SearchIndex(tmp_path / "people.index")

    def embed(crops):
        return np.eye(8, dtype=np.float32)[[0] * len(crops)]

    live = LiveGallery(LivePeople(find_by_colour, embed), {"door": "rtsp://anna:secret@a/main"})
    frames = (("door", draw_frame(n), n / 10) for n in range(1, FRAMES + 1))
    for looked in live.follow(frames, lambda act: act(index)):
        live.keep(index, looked)
    for camera in ("hall", "yard"):
        fill(index, tmp_path, camera)
    videos = {"hall": write_video(tmp_path / "hall.mp4"), "yard": tmp_path / "gone.mp4"}
    for source, note in index.notes("tracks").items():
        if note["camera"] in videos:
            index.note("tracks", {source: note | {"frames": str(videos[note["camera"]])}})
    tracks, features = indexed_tracks(index)
    linked = link_indexed(
        index, tracks[: len(features)], LinkOptions(index="people.index", threshold="0.5")
    )
    write_people_videos(tmp_path, linked)
    assert (tmp_path / "hall-1.mp4").exists()
    assert not [*tmp_path.glob("door-*.mp4"), *tmp_path.glob("yard-*.mp4")]
    assert "gone.mp4 is not drawn" in caplog.text
    assert "rtsp://a/main is not drawn" in caplog.text
    write_people_videos(tmp_path, linked, among=[Path("other.mp4")])
