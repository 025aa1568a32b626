"""The pictures in docs/images: one command draws them all, and they are as it would draw them now.

Those of a browser, and those that read most of a test set, take minutes and are not drawn again.
"""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.retrieval.results import load_result
from person_reid.synthetic.dataset import draw_chunk, planned_pictures
from tests.support import ROOT
from tests.support.pages import PAGES
from tools import augmentations
from tools.docs import pictures
from tools.docs.costs import cost_panels, costs
from tools.docs.film import FILM
from tools.docs.pages import COST_PICTURE, COSTS
from tools.docs.results import read_records
from tools.docs.tradeoff import draw_panels
from tools.recipes import known_recipes
from tools.reproduce import RESULTS

as_now = pytest.mark.skipif(
    matplotlib.__version_info__ < (3, 11), reason="this Matplotlib draws letters in another way"
)


def difference(picture, name):
    """The mean difference, in grey levels, between a picture and the one in docs/images."""
    kept = Image.open(pictures.IMAGES / name).convert("RGB")
    assert abs(picture.height / picture.width - kept.height / kept.width) < 0.02, name
    values = (np.asarray(each, float) for each in (picture.convert("RGB").resize(kept.size), kept))
    return np.abs(np.subtract(*values)).mean()


def test_the_command_draws_every_picture_and_a_page_shows_it():
    files = {path.name for path in pictures.IMAGES.iterdir()}
    source = (ROOT / "tools" / "docs" / "pictures.py").read_text("utf-8")
    drawn = set(re.findall(r'"(\w+\.jpg)"', source)) | {COST_PICTURE.name, FILM.name}
    assert drawn | {f"explorer_{screen[0]}.jpg" for screen in pictures.SCREENS} == files
    text = "".join(path.read_text("utf-8") for path in PAGES)
    assert [name for name in files if f"images/{name})" not in text] == []


def test_the_film_is_small_and_moves():
    film = Image.open(FILM)
    assert getattr(film, "n_frames", 1) > 50
    assert FILM.stat().st_size < 2_000_000


@as_now
def test_the_ranking_is_current(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    query, gallery = load_result(pictures.RANKED, paths=True)
    shown = {
        Path(path).name: Path(path) for images in (query, gallery) for path in images.paths or []
    }
    of_demo = [
        each for each in planned_pictures(200, 30, 6, 3, 150, 50) if Path(each.file).name in shown
    ]
    for picture in of_demo:
        path = shown[Path(picture.file).name]
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_chunk((str(path.parent), [replace(picture, file=path.name)], 0))
    assert difference(pictures.ranking(pictures.RANKED, str(tmp_path)), "ranking.jpg") < 3


@pytest.mark.slow
def test_people_and_augmentations_are_current(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ["--identities", "10", "--test_identities", "2", "--distractors", "0", "--junk", "0"]
    prepare.main(["--synthetic", "--data_dir", "people", *few])
    assert difference(pictures.people(pictures.PICTURED_PEOPLE), "people.jpg") < 3
    drawn = pictures.draw(augmentations, pictures.AUGMENTED, str(tmp_path))
    assert difference(drawn, "augmentations.jpg") < 3


@as_now
def test_the_costs_are_current(tmp_path):
    rows = costs(known_recipes([]), read_records(RESULTS), read_records(COSTS))
    draw_panels(cost_panels(rows), tmp_path / "costs.png")
    assert difference(Image.open(tmp_path / "costs.png"), COST_PICTURE.name) < 3
