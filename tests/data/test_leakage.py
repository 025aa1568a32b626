"""prepare.py --check: identities and images that are in training and in test."""

import shutil

import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.data.images.image_files import load_image
from person_reid.data.leakage import LIGHT, find_leakage, nearly_the_same, perceptual_hash
from person_reid.errors import UserError
from tests.data.test_prepare import state


def draw(seed, size=(128, 64)):
    """Something with large and small shapes, as a photograph has."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 255, (*cells, 3), np.uint8))
        for cells in ((6, 3), (16, 8), (40, 20))
    ]
    sums = np.mean(
        [np.asarray(layer.resize(size[::-1], Image.Resampling.BICUBIC), float) for layer in layers],
        axis=0,
    )
    return Image.fromarray((128 + 1.5 * (sums - 128)).clip(0, 255).astype(np.uint8))


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def layout(tmp_path):
    """A training set of ten people, and a test set of others."""
    for person in range(1, 21):
        split = "train_all" if person <= 10 else ("query", "gallery")[person % 2]
        for i in range(3):
            save(
                draw(10 * person + i),
                tmp_path / split / f"{person:04d}" / f"{person:04d}_c{i + 1}s1_{i}.png",
            )
    return tmp_path


def test_the_hash_is_that_of_a_slow_loop():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 16, 3), np.uint8)

    def cell(row, column, size):
        return (
            pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]
            .reshape(-1, 3)
            .mean(axis=0)
        )

    bits = []
    for size, look in (
        (2, lambda c: sum(c) / 3),
        (4, lambda c: c[0] - c[1]),
        (4, lambda c: c[2] - (c[0] + c[1]) / 2),
    ):
        rows, columns = 32 // size, 16 // size
        value = {(r, c): look(cell(r, c, size)) for r in range(rows) for c in range(columns)}
        bits += [value[r, c + 1] - value[r, c] > 1 for r in range(rows) for c in range(columns - 1)]
        bits += [value[r + 1, c] - value[r, c] > 1 for r in range(rows - 1) for c in range(columns)]
        assert size != 2 or len(bits) == LIGHT
    assert perceptual_hash(pixels).tolist() == bits


def test_a_layout_with_nothing_in_common_reports_zeros(layout, capsys):
    before = state(layout)
    prepare.main(["--data_dir", str(layout), "--check"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["0", "0", "0"]
    assert state(layout) == before


def test_people_and_images_in_both_are_listed(layout, capsys):
    place = layout / "gallery" / "0003"
    place.mkdir()
    for name in ("0003_c1s1_000.png", "0003_c1s1_001.png"):  # the first is named
        shutil.copy(layout / "train_all" / "0003" / "0003_c1s1_0.png", place / name)
    save(draw(51), layout / "gallery" / "0000" / "0000_c2s1_9.jpg", quality=40)
    # A distractor is nobody in particular.
    save(draw(51), layout / "train_all" / "0000" / "0000_c2s1_9.bmp")
    for number, split in enumerate(("train_all", "gallery")):  # nor is junk
        save(draw(900 + number), layout / split / "-1" / f"-1_c1s1_{number}.png")
    found = find_leakage(layout)
    assert found.identities == [3]
    assert [(one.name, other.name) for one, other in found.same] == [
        ("0003_c1s1_0.png", "0003_c1s1_000.png")
    ]
    assert {(one.name, other.name) for one, other, _ in found.near} == {
        ("0005_c2s1_1.png", "0000_c2s1_9.jpg"), ("0000_c2s1_9.bmp", "0000_c2s1_9.jpg")
    }  # fmt: skip
    prepare.main(["--data_dir", str(layout), "--check"])
    printed = capsys.readouterr().out
    assert "Identities in training and in test: 1 (3)" in printed
    assert "Images in training and in test: 1" in printed
    assert "  train_all/0005/0005_c2s1_1.png and gallery/0000/0000_c2s1_9.jpg (" in printed


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((32, 64)),
        lambda image: image.resize((200, 300), Image.Resampling.BILINEAR),
        lambda image: Image.eval(image, lambda value: min(255, int(value * 1.1 + 6))),
        lambda image: image.crop((1, 2, 64, 128)),
    ],
)
def test_images_that_are_nearly_the_same_are_found(change, tmp_path, monkeypatch):
    monkeypatch.setattr("person_reid.data.leakage.AT_ONCE", 3)
    mine = [save(draw(seed), tmp_path / f"{seed}.png") for seed in range(8)]
    theirs = [save(change(draw(seed)), tmp_path / f"changed_{seed}.png") for seed in range(4, 30)]
    found = nearly_the_same(mine, theirs)
    shares = [share for *_, share in found]
    assert {(one.name, other.name) for one, other, _ in found} == {
        (f"{i}.png", f"changed_{i}.png") for i in range(4, 8)
    }
    assert shares == sorted(shares, reverse=True)
    assert 0.8 <= shares[-1] <= shares[0] <= 1


def test_grey_images_agree_in_no_colours(tmp_path):
    """All grey images have the same colours, which must not make up for different shapes."""
    one, other = draw(1).convert("L"), draw(2).convert("L")
    mine = [save(one, tmp_path / "one.png")]
    found = []
    for share in np.linspace(0, 1, 21):
        theirs = [save(Image.blend(one, other, share), tmp_path / "other.png")]
        equal = np.equal(
            *(perceptual_hash(load_image(path, 32, 16)) for path in (mine[0], theirs[0]))
        )
        found.append((equal.mean() >= 0.8, equal[:LIGHT].mean() >= 0.8))
        assert bool(nearly_the_same(mine, theirs)) == all(found[-1])
    assert {(True, True), (True, False)} <= set(found)


def test_a_layout_without_queries_is_compared_with_its_gallery(layout):
    (layout / "query").rename(layout.parent / "elsewhere")
    shutil.copytree(layout / "train_all" / "0003", layout / "gallery" / "0003")
    found = find_leakage(layout)
    assert found.identities == [3]
    assert len(found.same) == 3


def test_what_cannot_be_compared_is_refused(layout):
    for words, problem in (
        (["--check"], "check needs data_dir=LAYOUT"),
        (
            ["--check", "--data_dir", str(layout), "--save_dir", "x"],
            "no option beside it but data_dir",
        ),
        (["--check", "--data_dir", str(layout), "--seed", "1"], "no option beside it but data_dir"),
        (
            ["--check", "--data_dir", str(layout), "--corrections", "x.csv"],
            "no option beside it but data_dir",
        ),
        (
            ["--check", "--data_dir", str(layout / "query")],
            "compares train_all with query and gallery",
        ),
    ):
        with pytest.raises(UserError, match=problem):
            prepare.main(words)
    (layout / "train_all" / "0001" / "0001_c1s1_0.png").write_text("not an image")
    with pytest.raises(UserError, match=r"1 of 30 images cannot be read(.|\n)*0001_c1s1_0\.png"):
        prepare.main(["--check", "--data_dir", str(layout)])
