import numpy as np
import pytest
from PIL import Image

from reid.show.curves import TRAIN_COLOR, VALIDATION_COLOR, draw_curves

HISTORY = [
    {"epoch": 1, "loss": 6.0, "error": 0.9, "val_loss": 6.5, "val_error": 0.8},
    {"epoch": 2, "loss": 3.0, "error": 0.4, "val_loss": 2.0, "val_error": 0.3},
    {"epoch": 3, "loss": 1.0, "error": 0.1, "val_loss": 1.5, "val_error": 0.2},
]


def columns_of(path, colour):
    """Which columns of the picture hold pixels near a colour."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.flatnonzero((np.abs(pixels - wanted).sum(2) < 60).any(0))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_both_curves_span_both_panels(suffix, tmp_path):
    path = tmp_path / f"train{suffix}"
    draw_curves(HISTORY, path)
    for colour in (TRAIN_COLOR, VALIDATION_COLOR):
        columns = columns_of(path, colour)
        width = Image.open(path).width
        assert columns.min() < 0.2 * width and columns.max() > 0.9 * width


def test_without_validation_there_is_no_second_curve(tmp_path):
    draw_curves([{"epoch": 1, "loss": 1.0, "error": 0.0}], tmp_path / "train.png")
    assert len(columns_of(tmp_path / "train.png", VALIDATION_COLOR)) == 0
    assert len(columns_of(tmp_path / "train.png", TRAIN_COLOR)) > 0


def test_a_loss_far_above_the_rest_is_cut_off(tmp_path):
    """Without a limit the other losses would lie on the axis: the training curve would be flat."""
    draw_curves([HISTORY[0] | {"val_loss": 900.0}, *HISTORY[1:]], tmp_path / "train.png")
    pixels = np.asarray(Image.open(tmp_path / "train.png").convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2]
    wanted = [int(TRAIN_COLOR[i : i + 2], 16) for i in (1, 3, 5)]
    rows = np.flatnonzero((np.abs(left - wanted).sum(2) < 60).any(1))
    assert np.ptp(rows) > 0.5 * pixels.shape[0]
