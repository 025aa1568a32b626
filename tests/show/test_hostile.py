"""Names of files that are not text, and numbers of images that no picture can hold."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from person_reid.errors import UserError
from person_reid.gallery.index import Found
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet, load_result, save_result
from person_reid.show.charts import draw_cmc
from person_reid.show.image_sheets import draw_found
from person_reid.show.ranking import nearest_matches
from person_reid.show.sheet import SheetRow, Tile, draw_sheet
from tests.support.ranked_people import lay_out, random_sets
from tests.support.scripts import run

BAD = "caf\udce9 \x1b[2J$\\frac$.jpg"
PIXELS = np.zeros((4, 2, 3), np.uint8)
pytestmark = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="names of files are Unicode there"
)


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    """A folder with result.mat, whose images have names with control characters.

    The names are not UTF-8.
    """
    folder = tmp_path_factory.mktemp("hostile")
    result, query, gallery = lay_out(folder)
    for images in (query, gallery):
        for position, path in enumerate(images.paths):
            images.paths[position] = str(Path(path).with_name(f"{position}{BAD}"))
            shutil.copy(path, images.paths[position])
    save_result(result, query, gallery)
    return folder


def check(output):
    assert "caf\ufffd" in output
    assert "\x1b" not in output
    output.encode()


def test_a_ranking_of_such_names_is_printed_and_drawn(renamed):
    check(run("demo", "--result", "result.mat", "--query_index", "1", "--top", "2", cwd=renamed))
    assert Image.open(renamed / "show.png").size[0] > 600


def test_heat_maps_and_the_report_show_such_names(renamed, drawn):
    small = ["--backbone", "osnet_x0_25", "--weights", "none", "--height", "64", "--width", "32"]
    image = load_result(renamed / "result.mat", paths=True)[0].paths[0]
    shutil.copy(image, renamed / "0001_c1s1_000001_00.png")
    run("heatmap", *small, image, "0001_c1s1_000001_00.png", "--save", "heat.png", cwd=renamed)
    first, second = (axes.get_xlabel() for axes in drawn[0].axes[:2])
    check(first)
    # The name is whole, in lines that fit below the image.
    assert second.replace("\n", "") == "0001_c1s1_000001_00"
    (renamed / BAD).write_bytes((renamed / "result.mat").read_bytes())
    run(
        "report",
        "--backbone",
        "x",
        "--no_heatmaps",
        "--no_rerank",
        "--result",
        BAD,
        "--save",
        "r.html",
        cwd=renamed,
    )
    check((renamed / "r.html").read_text(encoding="utf-8"))


def test_titles_are_drawn_as_they_are(tmp_path, drawn):
    draw_sheet([SheetRow([Tile(PIXELS, above=BAD, below=BAD)], BAD, BAD)], tmp_path / "a.png")
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts == ["caf\ufffd \ufffd[2J$\\frac$.jpg"] * 2
    query, gallery = random_sets()
    draw_cmc({BAD: evaluate(query, gallery)}, tmp_path / "cmc.png")
    assert "caf\ufffd" in drawn[1].legends[0].texts[0].get_text()


def test_pictures_accept_what_the_printed_digits_accept(tmp_path, drawn):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    draw_found(
        [tmp_path / "a.png"], [[Found(tmp_path / "a.png", 0.69996)]], tmp_path / "found.png", 0.7
    )
    assert "known: 1 of 1 at 0.7000 or above" in [text.get_text() for text in drawn[0].texts]
    assert drawn[0].axes[1].get_xlabel() == "0.7000\na"
    features = np.array([[1, 0], [0.69996, (1 - 0.69996**2) ** 0.5]])
    both = FeatureSet(features, np.array([1, 1]), np.array([1, 2]))
    for threshold, accepted in ((0.7, True), (0.7001, False)):
        assert (
            nearest_matches(both.select([0]), both.select([1]), 0, threshold=threshold)[0][
                0
            ].accepted
            == accepted
        )


def test_a_picture_that_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"a\.png: the picture would be \d+ inches long\. Show fewer images",
    ):
        draw_sheet([SheetRow([Tile(PIXELS)] * 3000)], tmp_path / "a.png")
