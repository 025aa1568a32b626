"""The sheet of doubtful labels: green is for images of the proposed identity alone."""

from pathlib import Path

import numpy as np
import pytest

from person_reid.retrieval.label_errors import LabelErrors
from person_reid.show import image_sheets
from person_reid.show.style import ASKED, RIGHT, WRONG


@pytest.mark.parametrize(("new", "frame"), [(2, RIGHT), (99, ASKED)])
def test_only_the_proposed_identity_is_green_and_others_are_grey_if_it_is_new(
    monkeypatch, tmp_path, new, frame
):
    drawn = []
    monkeypatch.setattr(image_sheets, "draw_sheet", lambda rows, save, look: drawn.extend(rows))
    labels, cameras = np.array([1, 1, 2, 2]), np.ones(4, np.int64)
    features = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    identity = np.array([new, 1, 2, 2])
    found = LabelErrors(
        np.array(["move"] * 4), identity, np.ones(4, np.float32), np.ones(4, np.float32), 1.0
    )
    paths = [Path(f"{i}.jpg") for i in range(4)]
    image_sheets.draw_doubtful(paths, features, labels, cameras, found, [0], tmp_path / "sheet.png")
    assert [tile.colour for tile in drawn[0].tiles] == [WRONG, frame, frame]


def test_the_nearest_of_both_identities_fill_one_line(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(image_sheets, "draw_sheet", lambda rows, save, look: drawn.extend(rows))
    labels, few = np.repeat([1, 2], 15), np.ones(30, np.float32)
    found = LabelErrors(np.array(["move"] * 30), np.full(30, 2), few, few, 1.0)
    paths, features = [Path(f"{i}.jpg") for i in range(30)], np.eye(30, dtype=np.float32)
    image_sheets.draw_doubtful(paths, features, labels, labels, found, [0], tmp_path / "sheet.png")
    assert [tile.colour for tile in drawn[0].tiles] == [WRONG] * 5 + [RIGHT] * 5
