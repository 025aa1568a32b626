"""Synthetic people: layout, the same bytes again, and people that colour cannot tell apart."""

import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.synthetic import dataset as synthetic
from person_reid.synthetic.body import solids_of
from person_reid.synthetic.dataset import (
    DRAWN_FOLDERS,
    MANIFEST,
    cut,
    draw_data_set,
    draw_walker,
    planned_pictures,
)
from person_reid.synthetic.figure import (
    BAGS,
    CLOTHES_PATTERNS,
    HAIR_STYLES,
    LOWER_CUTS,
    Person,
    Pose,
    Solid,
    draw_solids,
    paint_solid,
)
from person_reid.synthetic.scenes import (
    BOX,
    CAMERAS,
    camera_of,
    draw_obstacle,
    panorama,
    photograph_scene,
)

SIZES = {
    "train_identities": 2,
    "test_identities": 2,
    "cameras": 2,
    "images": 2,
    "distractors": 3,
    "junk": 2,
    "seed": 7,
}
MARKET_NAME = re.compile(r"(\d{4}|-1)_c(\d)s1_\d{6}_0[01]\.jpg")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    draw_data_set(root, workers=1, **SIZES)
    return root


def content(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def names(root, folder):
    """(label, camera) as text of every file, by a reading of names not the repository's own."""
    files = [path.name for path in sorted((root / folder).iterdir())]
    found = [match.groups() for match in map(MARKET_NAME.fullmatch, files) if match]
    assert len(found) == len(files)
    return found


def test_counts_follow_from_the_arguments(small):
    assert sorted(path.name for path in small.iterdir()) == sorted((*DRAWN_FOLDERS, MANIFEST))
    assert Counter(names(small, "bounding_box_train")) == {
        (f"000{i}", c): 2 for i in range(1, 3) for c in "12"
    }
    tested = {(f"000{i}", c) for i in range(3, 5) for c in "12"}
    assert Counter(names(small, "query")) == dict.fromkeys(tested, 1)
    gallery = Counter(names(small, "bounding_box_test"))
    assert {key: gallery[key] for key in tested} == dict.fromkeys(tested, 2)
    assert sum(number for (label, _), number in gallery.items() if label == "0000") == 3
    assert sum(number for (label, _), number in gallery.items() if label == "-1") == 2
    assert sum(gallery.values()) == 8 + 3 + 2
    assert Counter(names(small, "gt_bbox")) == dict.fromkeys(tested, 3)


def test_identities_of_train_and_test_are_disjoint_and_every_query_has_a_match(small):
    trained = {label for label, _ in names(small, "bounding_box_train")}
    gallery = names(small, "bounding_box_test")
    for label, camera in names(small, "query"):
        assert label not in trained
        assert any(other == label and seen_by != camera for other, seen_by in gallery)


def test_every_picture_is_a_small_jpeg_and_no_two_are_equal(small):
    files = [
        data
        for name, data in content(small).items()
        if name.endswith(".jpg") and "gt_bbox" not in name
    ]
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))
            assert np.asarray(image).std() > 10
    assert len(set(files)) == len(files)


def test_a_query_is_also_in_gt_bbox(small):
    for path in (small / "query").iterdir():
        assert (small / "gt_bbox" / path.name).read_bytes() == path.read_bytes()


def test_the_same_arguments_give_the_same_bytes_by_two_processes(small, tmp_path):
    draw_data_set(tmp_path / "again", workers=2, **SIZES)
    assert content(tmp_path / "again") == content(small)


def test_another_seed_gives_other_people(small, tmp_path):
    draw_data_set(tmp_path, workers=1, **{**SIZES, "seed": 8})
    ours, theirs = content(tmp_path), content(small)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours)


def test_more_people_leave_the_look_of_the_others_alone():
    first, again = (Person.draw(np.random.default_rng((0, 0, 5))) for _ in range(2))
    assert first == again
    assert len({Person.draw(np.random.default_rng((0, 0, number))) for number in range(500)}) == 500


def test_the_pictures_of_an_identity_show_one_person(tmp_path, monkeypatch):
    shown: list[tuple[str, list]] = []
    draw_picture, draw_walker = synthetic.draw_picture, synthetic.draw_walker

    def name_it(picture, *arguments):
        shown.append((Path(picture.file).name.split("_")[0], []))
        return draw_picture(picture, *arguments)

    def look(canvas, person, *arguments):
        shown[-1][1].append(person)
        return draw_walker(canvas, person, *arguments)

    monkeypatch.setattr(synthetic, "draw_picture", name_it)
    monkeypatch.setattr(synthetic, "draw_walker", look)
    draw_data_set(tmp_path, workers=1, **SIZES)
    people = {
        label: set.intersection(*(set(seen) for other, seen in shown if other == label))
        for label, _ in shown
    }
    assert {label: len(same) for label, same in people.items()} == {
        **dict.fromkeys(people, 1),
        "0000": 0,
        "-1": 0,
    }
    assert len(set.union(*people.values())) == 4


def test_a_second_run_changes_nothing(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert draw_data_set(small, workers=1, **SIZES) == 0
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_an_interrupted_run_is_completed(small, tmp_path, monkeypatch):
    whole, drawn = synthetic.draw_picture, list[tuple]()

    def interrupted(*arguments):
        if len(drawn) == 9:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(synthetic, "draw_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_data_set(tmp_path, workers=1, **SIZES)
    monkeypatch.undo()
    emptied = next((tmp_path / "bounding_box_train").iterdir())
    emptied.write_bytes(b"")  # as a crash of the machine leaves a file
    assert draw_data_set(tmp_path, workers=1, **SIZES) == len(content(small)) - 1 - 9 + 1
    emptied.unlink()
    assert draw_data_set(tmp_path, workers=1, **SIZES) == 1  # the only one of its camera
    assert content(tmp_path) == content(small)


def test_a_killed_write_leaves_no_half_picture(tmp_path, monkeypatch, small):
    real = Path.write_bytes

    def killed(path, data):
        real(path, data[:50])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        draw_data_set(tmp_path, workers=1, **SIZES)
    assert not list(tmp_path.rglob("*.jpg"))
    monkeypatch.undo()
    draw_data_set(tmp_path, workers=1, **SIZES)
    assert content(tmp_path) == content(small)


def test_a_folder_with_other_data_is_refused_and_left_alone(small, tmp_path):
    before = content(small)
    with pytest.raises(UserError, match=r"images 2 \(asked: 3\)"):
        draw_data_set(small, **{**SIZES, "images": 3})
    assert content(small) == before
    (tmp_path / "query").mkdir()
    with pytest.raises(UserError, match="not drawn here"):
        draw_data_set(tmp_path, **SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["query"]


def test_a_damaged_manifest_is_named(tmp_path):
    for content in ("{", "3", "[" * 5000):
        (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(UserError, match=f"{MANIFEST}: damaged"):
            draw_data_set(tmp_path, **SIZES)


def test_people_are_not_drawn_among_other_things(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        draw_data_set(tmp_path, 1, 1, 2, 1, 0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_killed_right_after_its_claim_is_completed(small, tmp_path):
    (tmp_path / MANIFEST).write_bytes((small / MANIFEST).read_bytes())
    draw_data_set(tmp_path, workers=1, **SIZES)
    assert content(tmp_path) == content(small)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cameras": 1}, "cameras 1: expected 2 to 99"),
        ({"cameras": 999_999_999}, "cameras 999999999: expected 2 to 99"),
        ({"images": 10**9}, "images 1000000000: expected 1 to 999"),
        ({"train_identities": 10**9}, "identities 1000000000: expected 1 to 9,999"),
        ({"distractors": 10**9}, "distractors 1000000000: expected 0 to 10,000,000"),
        (
            {"train_identities": 9000, "cameras": 99, "images": 999},
            # 99 × (9,000 × 999 + 2 × 2 × (1 + 999)) + 3 + 2
            "890,505,005 pictures: expected 10,000,000 or",
        ),
        ({"seed": -1}, "seed -1: expected 0"),
        ({"train_identities": 0}, "identities 0: expected 1"),
        ({"junk": -1}, "junk -1: expected 0"),
        ({"test_identities": 9999}, "more than 9999"),
    ],
)
def test_sizes_that_make_no_data_set_are_refused(changed, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        draw_data_set(tmp_path / "none", **{**SIZES, **changed})
    assert not (tmp_path / "none").exists()


def test_a_folder_without_distractors_or_junk_may_be_asked_for(tmp_path):
    draw_data_set(tmp_path, workers=1, **{**SIZES, "distractors": 0, "junk": 0})
    assert {label for label, _ in names(tmp_path, "bounding_box_test")} == {"0003", "0004"}


def colours(pixels):
    """The colours of an image as a descriptor: joint histograms of 8 stripes, of unit length.

    The square root makes a cosine the Bhattacharyya coefficient.
    """
    pixels = np.minimum(pixels * (pixels.mean() / pixels.mean((0, 1))), 255)  # a grey mean
    hsv = np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("HSV")).astype(np.int64)
    bins = np.ravel_multi_index(tuple((hsv * (16, 4, 4) // 256).transpose(2, 0, 1)), (16, 4, 4))
    counts = [np.bincount(part.ravel(), minlength=256) for part in np.array_split(bins, 8)]
    return np.sqrt(np.concatenate(counts) / bins.size)


@pytest.mark.slow
def test_colour_histograms_do_badly(tmp_path):
    draw_data_set(tmp_path, 1, 20, images=1, distractors=60, junk=0, workers=1)
    sets = []
    for folder in ("query", "bounding_box_test"):
        images = [np.asarray(Image.open(path)) for path in sorted((tmp_path / folder).iterdir())]
        labels, cameras = np.array(names(tmp_path, folder)).astype(int).T
        sets.append(FeatureSet(np.stack([colours(image) for image in images]), labels, cameras))
    query, gallery = sets
    assert evaluate(query, gallery).rank(1) < 0.35


def test_colour_histograms_tell_plain_people_apart():
    rng = np.random.default_rng(0)
    # 12 plain flags
    people = rng.integers(0, 256, (12, 4, 2, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    noisy = (people + rng.integers(-6, 7, people.shape)).clip(0, 255).astype(np.uint8)
    query, gallery = (
        FeatureSet(
            np.stack([colours(image) for image in images]), np.arange(12), np.full(12, camera)
        )
        for camera, images in ((1, people), (2, noisy))
    )
    assert evaluate(query, gallery).rank(1) > 0.9


def drawn(person, pose):
    canvas = np.full((128, 64, 3), 200, np.float32)
    draw_solids(canvas, solids_of(person, pose), pose, (32, 122), 108)
    return canvas


@pytest.mark.parametrize("style", HAIR_STYLES)
@pytest.mark.parametrize("cut", sorted(set(LOWER_CUTS)))
def test_every_wardrobe_is_drawn_finite_within_range(style, cut):
    base = Person.draw(np.random.default_rng(1))
    for bag in sorted(set(BAGS)):
        person = replace(base, hair_style=style, lower_cut=cut, bag=bag, boots=True)
        canvas = drawn(person, Pose(yaw=2.0, pitch=0.3, phase=1.0))
        assert np.isfinite(canvas).all()
        assert canvas.min() >= 0
        assert canvas.max() < 300
        assert (np.abs(canvas - 200).max(2) > 20).mean() > 0.1


@pytest.mark.parametrize("pattern", sorted(set(CLOTHES_PATTERNS) - {"plain"}))
def test_every_pattern_shows_from_some_side(pattern):
    plain = replace(
        Person.draw(np.random.default_rng(2)), upper_pattern="plain", bag="none", hem=0.0
    )
    patterned = replace(plain, upper_pattern=pattern)
    changes = [
        np.abs(drawn(plain, Pose(yaw)) - drawn(patterned, Pose(yaw))).mean() for yaw in (0.0, np.pi)
    ]
    assert max(changes) > 0.1


def test_a_logo_and_a_backpack_show_from_one_side_only():
    plain = replace(
        Person.draw(np.random.default_rng(3)), upper_pattern="plain", bag="none", hair_style="crop"
    )
    logo = replace(plain, upper_pattern="logo")
    pack = replace(plain, bag="backpack", bag_colour=(255, 0, 255))
    front, back = Pose(0.0), Pose(np.pi)
    assert (drawn(plain, front) != drawn(logo, front)).any()
    np.testing.assert_array_equal(drawn(plain, back), drawn(logo, back))
    covered = [np.abs(drawn(plain, pose) - drawn(pack, pose)).mean() for pose in (front, back)]
    assert covered[1] > 3 * covered[0]


def test_a_figure_may_stand_outside_the_picture():
    canvas = np.full((32, 32, 3), 90, np.float32)
    solid = Solid((0, 0, 0), (0, 1, 0), (0.1, 0.1), (255, 0, 0))
    for middle in ((-500.0, 5.0), (500.0, 5.0), (5.0, -500.0), (5.0, 500.0)):
        start = np.array(middle)
        paint_solid(canvas, start, start + 4, np.array((3.0, 3.0)), solid, Pose())
    assert (canvas == 90).all()


@pytest.mark.parametrize("number", range(1, 9))
def test_every_camera_has_a_backdrop_and_an_obstacle_of_its_own(number):
    camera = camera_of(number, seed=0)
    backdrop = panorama(camera, number, seed=0)
    np.testing.assert_array_equal(backdrop, panorama(camera, number, seed=0))
    assert camera not in [camera_of(other, seed=0) for other in range(1, number)]
    scene = backdrop.crop((0, 0, *BOX))
    covered = scene.copy()
    draw_obstacle(covered, camera.obstacle, np.random.default_rng(0))
    assert (np.asarray(covered) != np.asarray(scene)).any() == (camera.obstacle != "passer-by")


def test_a_camera_gives_what_is_grey_its_own_balance():
    grey = Image.new("RGB", BOX, (120, 120, 120))
    for camera in CAMERAS:
        if max(camera.balance) - min(camera.balance) > 0.05:
            taken = [
                photograph_scene(grey, camera, np.random.default_rng(seed)) for seed in range(8)
            ]
            means = np.mean(
                [np.asarray(Image.open(io.BytesIO(data))).mean((0, 1)) for data in taken], axis=0
            )
            assert (
                means.argsort()[[0, -1]].tolist() == np.argsort(camera.balance)[[0, -1]].tolist()
            ), camera


def test_people_face_where_their_camera_has_them_and_are_as_tall_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "person_reid.synthetic.dataset.draw_solids", lambda *arguments: seen.append(arguments[2:])
    )
    person = replace(Person.draw(np.random.default_rng(0)), height=0.9)
    for camera in CAMERAS:
        for seed in range(20):
            draw_walker(
                np.zeros((1, 1, 3)), person, camera, np.random.default_rng(seed), (0.0, 0.0), 100.0
            )
        turned = np.cos([pose.yaw - camera.yaw for pose, *_ in seen[-20:]])
        assert np.median(turned) > 0.7
    assert {scale for *_, scale in seen} == {90.0}


def test_boxes_by_hand_are_tighter_than_detected_ones_and_junk_is_far_off():
    boxes = {
        box: [cut(box, np.random.default_rng(seed)) for seed in range(200)]
        for box in ("by hand", "detected", "junk")
    }
    by_hand, detected, junk = (
        np.std([[*feet, scale] for feet, scale in cuts], axis=0) for cuts in boxes.values()
    )
    assert (4 * by_hand < detected).all()
    assert (4 * detected < junk).all()


def test_every_camera_sees_distractors_and_junk():
    seen = Counter(
        (picture.box, picture.camera)
        for picture in planned_pictures(1, 1, 3, 1, distractors=9, junk=6)
    )
    assert [seen["junk", camera] for camera in (1, 2, 3)] == [2, 2, 2]
    strangers = [
        picture
        for picture in planned_pictures(1, 1, 3, 1, distractors=9, junk=6)
        if "/0000_" in picture.file
    ]
    assert Counter(picture.camera for picture in strangers) == {1: 3, 2: 3, 3: 3}
