"""tools/augmentations.py draws a row for each augmentation, and every row differs from the plain one."""

import numpy as np
import pytest
from PIL import Image

from person_reid.cli import augmentations


@pytest.mark.parametrize("suffix", ["jpg", "PNG"])
def test_picture_has_a_row_for_each_flag(tmp_path, suffix, capsys):
    for person in ("0001", "0002", "0003"):
        path = tmp_path / "train_all" / person / f"{person}_c1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 20, 3), dtype=np.uint8)).save(path)
    save = tmp_path / f"picture.{suffix}"
    size = ["--height", "40", "--width", "20"]
    augmentations.main(["--data_dir", str(tmp_path), "--people", "2", *size, "--save", str(save)])
    assert "2 people, 8 rows" in capsys.readouterr().out
    picture = Image.open(save)
    assert picture.format == {"jpg": "JPEG", "PNG": "PNG"}[suffix]
    rows = np.asarray(picture).reshape(-1, picture.width, 3)[: 8 * 58].reshape(8, 58, picture.width, 3)
    assert all((row[18:] != rows[0][18:]).any() for row in rows[1:])


def test_another_kind_of_picture_is_refused(capsys):
    with pytest.raises(SystemExit):
        augmentations.main(["--save", "picture.webp"])
    assert "picture.webp: expected a file name that ends in one of .jpg" in capsys.readouterr().err
