"""tools/augmentations.py draws a row for each augmentation, and each differs from the plain one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from person_reid.config import train as training_options
from person_reid.config.look import Look
from person_reid.data.images.augment import AUGMENTATIONS
from person_reid.show import sheet
from person_reid.show.sheet import SheetRow, draw_sheet
from tools import augmentations


@pytest.mark.parametrize("suffix", ["jpg", "PNG"])
def test_picture_has_a_row_for_each_flag(tmp_path, suffix, capsys, monkeypatch):
    for person in ("0001", "0002", "0003"):
        path = tmp_path / "train_all" / person / f"{person}_c1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(
            np.random.default_rng(0).integers(256, size=(40, 20, 3), dtype=np.uint8)
        ).save(path)
    drawn: list[SheetRow] = []

    def draw(rows: list[SheetRow], save: Path, look: Look) -> None:
        drawn.extend(rows)
        draw_sheet(rows, save, look)

    monkeypatch.setattr(sheet, "draw_sheet", draw)
    monkeypatch.setitem(AUGMENTATIONS, "negative", lambda images, generator: 255 - images)
    monkeypatch.setattr(training_options, "AUGMENTATION_NAMES", ["negative"])
    save = tmp_path / f"picture.{suffix}"
    size = ["--height", "40", "--width", "20"]
    augmentations.main(["--data_dir", str(tmp_path), "--people", "2", *size, "--save", str(save)])
    assert "2 people, 9 rows" in capsys.readouterr().out
    assert Image.open(save).format == {"jpg": "JPEG", "PNG": "PNG"}[suffix]
    first, *others = (np.stack([np.asarray(tile.image) for tile in row.tiles]) for row in drawn)
    assert first.shape == (2, 40, 20, 3)
    assert len(others) == 8
    assert all((images != first).any() for images in others)
