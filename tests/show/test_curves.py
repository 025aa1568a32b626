import json

import numpy as np
import pytest
from PIL import Image

from person_reid.errors import UserError
from person_reid.run_folder import read_history
from person_reid.show.charts import draw_curves, loss_limit, panels_of
from person_reid.show.style import LINES

HISTORY = [
    {"epoch": 1, "loss": 6.0, "error": 0.9, "val_loss": 6.5, "val_error": 0.8},
    {"epoch": 2, "loss": 3.0, "error": 0.4, "val_loss": 2.0, "val_error": 0.3},
    {"epoch": 3, "loss": 1.0, "error": 0.1, "val_loss": 1.5, "val_error": 0.2},
]

TRAIN_COLOR, VALIDATION_COLOR = LINES[:2]


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
        assert columns.min() < 0.2 * width
        assert columns.max() > 0.9 * width


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


def test_what_is_cut_off_is_marked_and_the_learning_rate_has_steps(tmp_path, drawn):
    history = [record | {"lr": 0.1} for record in HISTORY]
    draw_curves([history[0] | {"val_loss": 900.0}, *history[1:]], tmp_path / "train.png")
    loss, _, rate = drawn[0].axes
    assert loss.lines[-1].get_xdata() == [1]
    assert loss.lines[-1].get_ydata()[0] < loss.get_ylim()[1]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        "training",
        "validation",
        "cut off",
    ]
    assert loss.lines[0].get_drawstyle() == "default"
    assert rate.lines[0].get_drawstyle() == "steps-mid"


def test_many_losses_share_a_legend_below_the_panels_and_differ(tmp_path, drawn):
    names = [f"loss_number_{number}" for number in range(16)]
    history = [record | dict.fromkeys(names, record["loss"]) for record in HISTORY]
    draw_curves(history, tmp_path / "train.png")
    (legend,) = drawn[0].legends
    lines = drawn[0].axes[1].lines
    assert [*filter(None, (axes.get_legend() for axes in drawn[0].axes))] == []
    assert {line.get_label() for line in lines} <= {text.get_text() for text in legend.get_texts()}
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 16
    assert legend.get_window_extent().y1 < drawn[0].axes[-1].get_window_extent().y0


def test_every_quantity_of_the_log_has_its_panel(tmp_path, drawn):
    history = [record | {"lr": 0.1 / record["epoch"]} for record in HISTORY]
    draw_curves(history, tmp_path / "train.png")
    history[1] |= {"mAP": 0.4}
    history[2] |= {"mAP": 0.5, "rank1": 0.75}
    draw_curves(history, tmp_path / "train.png")
    assert [axes.get_title("left") for axes in drawn[0].axes] == [
        "Loss",
        "Top-1 error",
        "Learning rate",
    ]
    loss, error, rate, test = drawn[1].axes
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [(1, 6.0), (2, 3.0), (3, 1.0)])
    np.testing.assert_array_equal(error.lines[1].get_xydata(), [(1, 0.8), (2, 0.3), (3, 0.2)])
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [0.1, 0.05, 0.1 / 3])
    np.testing.assert_array_equal(test.lines[0].get_xydata(), [(2, 0.4), (3, 0.5)])
    np.testing.assert_array_equal(test.lines[1].get_xydata(), [(3, 0.75)])
    assert [text.get_text() for text in test.get_legend().get_texts()] == ["mAP", "Rank@1"]


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_no_point_lies_on_the_upper_edge(epochs, tmp_path, drawn):
    history = [record | {"lr": 0.05, "mAP": 1.0, "rank1": 1.0} for record in HISTORY[:epochs]]
    draw_curves(history, tmp_path / "train.png")
    for axes in drawn[0].axes[1:]:  # the loss has a limit of its own
        highest = max(line.get_ydata().max() for line in axes.lines)
        bottom, top = axes.get_ylim()
        assert bottom == 0
        assert 1.07 * highest < top < 1.2 * highest


def test_what_is_not_finite_leaves_a_gap(tmp_path, drawn):
    lines = [
        json.dumps(HISTORY[0]),
        '{"epoch": 2, "loss": NaN, "error": Infinity, "val_loss": 1e308, "lr": -Infinity}',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, json.dumps(HISTORY[2])]))
    draw_curves(read_history(tmp_path / "log.jsonl"), tmp_path / "train.png")
    np.testing.assert_array_equal(drawn[0].axes[0].lines[0].get_xydata(), [(1, 6.0), (3, 1.0)])
    nothing = '{"epoch": 1, "loss": NaN, "error": NaN}'
    (tmp_path / "log.jsonl").write_text(nothing)
    draw_curves(read_history(tmp_path / "log.jsonl"), tmp_path / "train.svg")


def test_a_validation_loss_above_that_of_training_stays_in_sight():
    overfit = [{"loss": 1.0, "val_loss": value} for value in (90.0, 3.0, 2.5, 2.8)]
    assert 2.8 < loss_limit(overfit) < 4
    assert loss_limit([{"loss": 0.0}]) == 1


def test_a_log_is_read_or_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in HISTORY))
    assert read_history(path) == HISTORY
    wrong_numbers = ('"1"', "null", "true", "[]", "1" + "0" * 400)
    epochs = [f'{{"epoch": 1, "error": 0, "loss": {wrong}}}' for wrong in wrong_numbers]
    for content in ("", '{"epoch": 1}', '{"epoch": 1.5, "loss": 1, "error": 0}', *epochs):
        path.write_text(content)
        with pytest.raises(UserError, match=r"log\.jsonl: expected a line for each epoch"):
            read_history(path)
    for broken in (b"{", b"3\n", b"[]", b"\xff", b"[" * 5000, b'{"loss": ' + b"1" * 5000 + b"}"):
        path.write_bytes(b"\n" + broken)
        with pytest.raises(UserError, match=r"log\.jsonl: line 2: expected a JSON object"):
            read_history(path)
    with pytest.raises(UserError, match=r"absent: no such log"):
        read_history(tmp_path / "absent")


def test_each_loss_has_a_line_where_the_loss_is_a_sum(tmp_path):
    losses = {"loss_cross_entropy": 4.0, "loss_triplet": 0.5, "loss_circle": 200.0}
    history = [{"epoch": epoch, "loss": 204.5, "error": 0.5, **losses} for epoch in (1, 2)]
    assert [*panels_of(history)] == ["Loss", "Each loss", "Top-1 error"]
    assert [*panels_of(history)["Each loss"].values()] == ["cross_entropy", "triplet", "circle"]
    assert [*panels_of(HISTORY)] == ["Loss", "Top-1 error"]
    draw_curves(history, tmp_path / "train.png")
    assert Image.open(tmp_path / "train.png").width > 1000
