"""The images that stand for a track, against loops."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from person_reid.data.video import crops
from person_reid.data.video.crops import (
    choose_boxes,
    cut_boxes,
    cut_images,
    seen_pixels,
    sharpness,
    tracks_of_crops,
)
from person_reid.data.video.frames import open_frames
from person_reid.data.video.tracked_boxes import Track
from tests.data.conftest import noise


def track_of(number, frames, boxes):
    return Track(number, np.array(frames), np.array(boxes, float), 0, 0)


def test_how_much_of_a_person_is_seen_agrees_with_counted_pixels():
    """A person whose box ends lower is nearer."""
    random = np.random.default_rng(0)
    size = (40, 30)
    tracks = []
    for number in range(3):
        corners = random.integers(-5, 30, (4, 2))
        tracks.append(
            track_of(
                number, [1, 2, 3, 4], np.hstack([corners, corners + random.integers(4, 20, (4, 2))])
            )
        )
    found = seen_pixels(tracks, size)
    for frame in range(4):
        boxes = [track.boxes[frame].astype(int) for track in tracks]
        for number, (left, top, right, bottom) in enumerate(boxes):
            pixels = {
                (x, y)
                for x in range(max(left, 0), min(right, size[0]))
                for y in range(max(top, 0), min(bottom, size[1]))
            }
            covered = sum(
                other[0] <= x < other[2] and other[1] <= y < other[3]
                for x, y in pixels
                for other in boxes
                if other[3] > bottom
            )
            expected = 0.0
            wide = min(right, size[0]) - max(left, 0), min(bottom, size[1]) - max(top, 0)
            if min(wide) >= 8:
                area = len(pixels)
                free = max(1 - covered / area, 0.05)
                expected = np.sqrt(area) * area / ((right - left) * (bottom - top)) * free
            assert found[number][frame] == pytest.approx(expected)


@pytest.fixture
def scene(tmp_path):
    """Thirty frames of noise, of which the odd ones are out of focus."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 31):
        image = Image.fromarray(noise(60, 100, seed=number))
        if number % 2:
            image = image.filter(ImageFilter.GaussianBlur(2))
        image.save(folder / f"{number:06d}.png")
    return open_frames(folder)


def test_each_part_of_a_track_gives_its_sharpest_large_box(scene, tmp_path):
    frames = list(range(1, 31))
    # The person is far away from frame 13 on.
    boxes = [[10, 5, 40, 55] if frame < 13 else [10, 5, 20, 20] for frame in frames]
    tracks = [track_of(3, frames, boxes), track_of(4, [2], [[50, 5, 80, 55]])]
    chosen = choose_boxes(tracks, scene.size, 3, tmp_path / "crops")
    assert cut_boxes(scene, chosen, tmp_path / "crops") == 4
    images = cut_images(tmp_path / "crops", tracks)
    numbers = [tuple(map(int, path.stem.split("_"))) for path in images]
    assert [track for track, _ in numbers] == [3, 3, 3, 4]
    assert numbers[-1] == (4, 2)
    parts = [frame for track, frame in numbers if track == 3]
    assert [(frame - 1) // 10 for frame in parts] == [0, 1, 2]
    assert not any(frame % 2 for frame in parts)
    assert parts[1] < 13
    assert Image.open(images[0]).size == (30, 50)


def test_an_interrupted_call_goes_on_where_it_was(scene, tmp_path, monkeypatch):
    tracks = [track_of(3, range(1, 31), [[10, 5, 40, 55]] * 30)]
    folder = tmp_path / "crops"
    chosen = choose_boxes(tracks, scene.size, 6, folder)
    whole = tmp_path / "whole"
    cut_boxes(scene, chosen, whole)
    read = scene.read

    def interrupted(wanted):
        for number, image in read(wanted):
            if number > 12:
                raise KeyboardInterrupt
            yield number, image

    monkeypatch.setattr(scene, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut_boxes(scene, chosen, folder)
    there = {path.name: path.read_bytes() for path in cut_images(folder, tracks)}
    assert len(there) == 2
    monkeypatch.setattr(scene, "read", read)
    left = choose_boxes(tracks, scene.size, 6, folder)
    assert min(each.frame for each in left) > 10
    cut_boxes(scene, left, folder)
    contents = [
        {path.name: path.read_bytes() for path in place.iterdir()} for place in (folder, whole)
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6


def test_sharpness_is_the_deviation_of_the_laplacian():
    image = Image.fromarray(noise(64, 32, seed=0)).convert("L")
    values = np.asarray(image, float)
    found = [
        values[y - 1, x] + values[y + 1, x] + values[y, x - 1] + values[y, x + 1] - 4 * values[y, x]
        for y in range(1, 63)
        for x in range(1, 31)
    ]
    assert sharpness(image) == pytest.approx(np.std(found))
    assert sharpness(image) > 2 * sharpness(image.filter(ImageFilter.GaussianBlur(1)))


def test_two_processes_may_write_one_crop(tmp_path, monkeypatch):
    """The second begins and ends while the first writes."""
    crop = Image.new("RGB", (8, 16))
    path = tmp_path / "000001_000002.jpg"
    whole = crops.save_crop

    def slowly(image, place):
        whole(image, place)
        monkeypatch.setattr(crops, "save_crop", whole)
        crops.write_crop(image, path)

    monkeypatch.setattr(crops, "save_crop", slowly)
    crops.write_crop(crop, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    with Image.open(path) as image:
        assert image.size == crop.size


def test_names_of_crops_tell_their_tracks_and_who_shares_a_moment():
    names = ["a/000001_000010", "a/000001_000030", "a/000002_000030", "a/000003_000031"]
    paths = [Path(f"{name}.jpg") for name in [*names, "b/000001_000010"]]
    found = tracks_of_crops(paths)
    assert found.labels.tolist() == [0, 0, 1, 2, 3]
    assert found.frames.tolist() == [10, 30, 30, 31, 10]
    assert np.argwhere(found.apart).tolist() == [[0, 1], [1, 0]]
    assert tracks_of_crops([*paths, Path("a/0002_c1s1_000451_03.jpg")]) is None
