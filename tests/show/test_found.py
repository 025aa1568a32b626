import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from person_reid.gallery.index import Found
from person_reid.gallery.metadata import About, about_images
from person_reid.show.image_sheets import draw_found
from person_reid.show.sheet import TILES_OF_LINE, SheetRow, Tile, draw_sheet
from person_reid.show.style import ACCEPTED, ASKED, FAINT, ON_DARK, Look

PIXELS = np.zeros((4, 2, 3), np.uint8)


def test_answers_of_a_search_are_neither_right_nor_wrong(tmp_path, drawn):
    path = tmp_path / f"{'long_' * 40}.png"
    Image.fromarray(PIXELS).save(path)
    answers = [[Found(path, 0.8), Found(path, 0.6)]]
    for threshold in (-1.0, 0.7):
        draw_found([path], answers, tmp_path / "found.png", threshold)
    frames = [[axes.spines["top"].get_edgecolor() for axes in figure.axes] for figure in drawn]
    assert frames[0] == [to_rgba(ASKED)] * 3
    assert frames[1] == [to_rgba(colour) for colour in (ASKED, ACCEPTED, FAINT)]
    assert drawn[0].texts[0].get_window_extent().x1 < drawn[0].bbox.x1
    draw_found([path], answers, tmp_path / "found.png", look=Look(dark=True))
    on_dark = {axes.spines["top"].get_edgecolor() for axes in drawn[2].axes}
    assert on_dark == {to_rgba(ON_DARK[ASKED])}


@pytest.mark.filterwarnings("ignore:Matplotlib currently does not support Devanagari")
def test_names_of_any_alphabet_are_drawn(tmp_path, drawn):
    path = tmp_path / "王芳 한국어 สมชาย नितिन.png"
    Image.fromarray(PIXELS).save(path)
    draw_found([path], [[Found(path, 0.8, About(camera="入口"))]], tmp_path / "found.png")
    assert drawn[0].texts[0].get_text() == path.name
    assert drawn[0].axes[1].get_xlabel().endswith("camera 入口")


def test_below_an_answer_stand_its_file_camera_and_time(tmp_path, drawn):
    path = tmp_path / "seen_at_the_door.png"
    Image.fromarray(PIXELS).save(path)
    about = About(camera="hall", time="2026-11-01 09:30:00")
    draw_found([path], [[Found(path, 0.8, about), Found(path, 0.6)]], tmp_path / "found.png")
    first, second = (axes.get_xlabel().split("\n") for axes in drawn[0].axes[1:])
    assert first == ["0.8000", "seen_at_the_", "door", "camera hall", "2026-11-01", "09:30:00"]
    assert second == ["0.6000", "seen_at_the_", "door"]
    (about,) = about_images([path]).values()  # with the time of the file
    draw_found([path], [[Found(path, 0.8, about)]], tmp_path / "found.png")
    assert drawn[1].axes[1].get_xlabel().split("\n") == ["0.8000", "seen_at_the_", "door"]


def test_a_second_line_of_tiles_begins_below_the_words_of_the_first(tmp_path, drawn):
    tiles = [Tile(PIXELS, below="one\ntwo\nthree")] * (TILES_OF_LINE + 1)
    draw_sheet([SheetRow(tiles)], tmp_path / "sheet.png")
    first, *_, second = drawn[0].axes
    assert max(axes.get_position().x1 for axes in drawn[0].axes) < 1
    assert first.xaxis.label.get_window_extent().y0 > second.get_window_extent().y1


def test_a_faint_photograph_is_paler(tmp_path, drawn):
    draw_sheet([SheetRow([Tile(PIXELS), Tile(PIXELS, faint=True)])], tmp_path / "sheet.png")
    clear, faint = (axes.images[0].get_alpha() for axes in drawn[0].axes)
    assert 0 < faint < clear
