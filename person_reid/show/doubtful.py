"""Draw images with doubtful labels beside the nearest of their own and of the proposed identity."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from person_reid.data.layout import DISTRACTOR
from person_reid.data.own.labels import NUMBERS, words_beside
from person_reid.retrieval.label_errors import LabelErrors, Labels
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.show.sheet import TILES_OF_LINE, SheetRow, Tile, draw_sheet
from person_reid.show.style import ASKED, RIGHT, SCREEN, WRONG, Look

IMAGES_OF_IDENTITY = TILES_OF_LINE // 2  # images of an identity


def draw_doubtful(
    paths: Sequence[Path],
    features: Features,
    labels: Labels,
    cameras: Labels,
    found: LabelErrors,
    shown: Sequence[int],
    save: str | Path,
    look: Look = SCREEN,
) -> None:
    """Draw the images `shown`, positions among N, to an image file, one row each.

    paths, features, labels, cameras: of N images. found: their LabelErrors. Red frames mark the
    nearest images of the label, green ones the nearest of the proposed identity; if that has none,
    grey ones mark anybody else's.
    """
    units, words = unit_rows(features), words_beside(paths[0]) if len(paths) else NUMBERS
    rows = []
    for image in shown:
        similarities = units @ units[image]
        own, new = labels[image], found.identity[image]
        of_new, frame = (labels == new, RIGHT) if new in labels else (labels != own, ASKED)
        tiles = []
        for others, colour in (((labels == own) & (own != DISTRACTOR), WRONG), (of_new, frame)):
            chosen = np.setdiff1d(np.flatnonzero(others), image)
            nearest = chosen[np.argsort(-similarities[chosen], kind="stable")[:IMAGES_OF_IDENTITY]]
            tiles += [
                Tile(
                    paths[i],
                    colour,
                    words.identity(int(labels[i])),
                    f"{words.camera_mark(int(cameras[i]))} · {similarities[i]:.3f}",
                )
                for i in nearest
            ]
        people = " → ".join(words.table.get("identity", {}).get(int(n), str(n)) for n in (own, new))
        title = f"{found.proposal[image]} {people}, probability {found.probability[image]:.2f}"
        lead = Tile(paths[image], ASKED, "image", words.camera_mark(int(cameras[image])))
        rows.append(SheetRow(tiles, title, paths[image].name, lead))
    draw_sheet(rows, save, look)
