"""Things that never move, and very short pieces of tracks, are not counted as people."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from person_reid.data.video.crops import crop_name, cut_box, write_crop
from person_reid.data.video.tracked_boxes import Track
from person_reid.gallery.doubted_tracks import doubted_tracks, never_moves
from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.gallery.metadata import About
from person_reid.gallery.track_records import TrackRecord

SIZE, BOX = (160, 120), np.array([40.0, 20, 80, 100])
RECORD = TrackRecord("hall-1", "hall.txt", "", "hall", "", 10.0, None, *SIZE, None)


def filmed(folder, number=1, seconds=12.0, move=0, sway=0.0, noise=2.0, light=0, images=8):
    """A track of a figure in noise. The detector's boxes jitter by half a pixel.

    move: by how many pixels the figure leans to and fro. sway: the same for its boxes. light: by
    how many grey levels the picture becomes brighter.
    """
    rng = np.random.default_rng(number)
    frames = np.arange(1, int(10 * seconds) + 1)
    boxes = BOX + rng.normal(0, 0.5, (len(frames), 4))
    boxes += sway * np.sin(frames / 9)[:, None] * [1, 0, 1, 0]
    paths = []
    for place in np.linspace(0, len(frames) - 1, images).round().astype(int):
        scene = Image.new("L", SIZE, 120)
        draw = ImageDraw.Draw(scene)
        lean = move * (place % 2)
        draw.rectangle((48 + lean, 40, 72 + lean, 98), 40)
        draw.ellipse((52 + lean, 22, 68 + lean, 40), 200)
        grey = np.asarray(scene, float) + rng.normal(0, noise, SIZE[::-1])
        grey = grey + light * place / len(frames)
        frame = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        paths.append(folder / crop_name(number, int(frames[place])))
        write_crop(cut_box(frame, boxes[place]), paths[-1])
    track = Track(number, frames, boxes, 0.0, (len(frames) - 1) / 10)
    return IndexedTrack(
        RECORD, track, [(path, About()) for path in paths], np.ones((images, 4), np.float32)
    )


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("light", [0, 30])
def test_a_thing_never_moves(tmp_path, noise, light):
    assert never_moves(filmed(tmp_path, noise=noise, light=light))


@pytest.mark.parametrize(
    "person",
    [
        {"move": 4},  # stands with steady boxes, and the body leans a little
        {"move": 4, "seconds": 60.0},
        {"sway": 6.0},
        {"seconds": 5.0},  # too short to be sure
        {"images": 2},
    ],
)
def test_somebody_who_stands_still_is_a_person(tmp_path, person):
    assert not never_moves(filmed(tmp_path, **person))


def test_what_passes_a_thing_does_not_make_it_a_person(tmp_path):
    thing = filmed(tmp_path)
    boxes = thing.track.boxes.copy()
    boxes[40:44] += [0, 0, 60, 0]
    assert never_moves(replace(thing, track=replace(thing.track, boxes=boxes)))
    for path, _ in thing.images:
        path.unlink()
    assert not never_moves(thing)  # nobody can tell


def test_short_pieces_are_doubted_beside_a_longer_one(tmp_path):
    def pieces(number, *counts):
        whole = filmed(tmp_path, number, seconds=4.0)
        return [replace(whole, images=whole.images[:count]) for count in counts]

    tracks = [*pieces(1, 5, 1, 2, 3), *pieces(2, 1), *pieces(3, 2, 2), *pieces(4, 1, 2)]
    assert doubted_tracks(tracks) == [1, 2, 7]
