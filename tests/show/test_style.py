import itertools
import re

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.colors import rgb_to_hsv, to_rgb
from PIL import Image

from person_reid.config.look import Look
from person_reid.errors import UserError
from person_reid.page_files import page_sources
from person_reid.show import style
from person_reid.show.style import (
    ACCEPTED,
    INK,
    LINES,
    LINES_ON_DARK,
    ON_DARK,
    RIGHT,
    WRONG,
    decimals,
    fitted,
    picture,
    shortened,
    text_width,
    theme,
)

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "jpg": b"\xff\xd8"}
# Red-green blindness (deuteranopia), severity 1: Machado, Oliveira, Fernandes, TVCG 2009, table 1.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def draw(path, dark=False):
    with picture(path, 3, 2, Look(dark=dark)) as figure:
        figure.subplots().plot([1, 2], [3, 4])


def linear(colour):
    """Linear light of an sRGB colour."""
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The ratio of WCAG 2, 1 to 21."""
    high, low = sorted(
        (linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other)), reverse=True
    )
    return (high + 0.05) / (low + 0.05)


def test_the_file_name_says_the_type_and_the_same_picture_is_the_same_file(tmp_path):
    for suffix, beginning in BEGINNINGS.items():
        for name in ("a", "b"):
            draw(tmp_path / f"{name}.{suffix}")
        content = (tmp_path / f"a.{suffix}").read_bytes()
        assert content.startswith(beginning)
        assert content == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["picture.doc", "picture"])
def test_an_unknown_type_is_refused_before_anything_is_drawn(name, tmp_path):
    with (
        pytest.raises(UserError, match=rf"{name}: expected .*\.png"),
        picture(tmp_path / name, 3, 2),
    ):
        pytest.fail("drawn")
    assert not list(tmp_path.iterdir())


def test_a_type_that_needs_another_program_is_not_offered(tmp_path):
    with pytest.raises(UserError, match=r"\.png") as error, picture(tmp_path / "a.pgf", 1, 1):
        pass
    assert ".pgf," not in str(error.value)


def test_a_failure_while_drawing_keeps_the_old_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), picture(tmp_path / "a.png", 3, 2):
        raise ZeroDivisionError
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_the_settings_end_with_the_picture(tmp_path):
    before = dict(matplotlib.rcParams)
    draw(tmp_path / "a.png", dark=True)
    assert dict(matplotlib.rcParams) == before


def test_long_names_lose_their_middle():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 6) == "abc…ij"
    assert shortened("abcdefghij", 3) == "a…j"


def test_text_is_fitted_by_its_width():
    assert fitted("0061_c1s1_001081_00", 1.2, 13, lines=3) == "0061_c1s1_\n001081_00"
    assert fitted("il" * 10, 1.2, 13) == "il" * 10
    assert "…" in fitted("WM" * 10, 1.2, 13)
    found = fitted(f"0061_{'a_long_name_' * 20}7.jpg", 1.2, 13, lines=3)
    assert found.count("\n") == 2
    assert found.startswith("0061_")
    assert found.endswith("7.jpg")
    assert "…" in found
    assert fitted("", 1, 13) == ""
    assert len(fitted("ab", 0.01, 13)) == 1


def test_a_small_share_has_four_decimals():
    assert [decimals(share) for share in (0, 0.0004, 0.001, 0.7126)] == [
        "0.000", "0.0004", "0.001", "0.713",
    ]  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_lines_stand_out_from_the_paper(dark):
    settings = theme(Look(dark=dark))
    paper = settings["figure.facecolor"]
    assert contrast(settings["text.color"], paper) > 7
    assert contrast(settings["xtick.labelcolor"], paper) > 7
    for colour in LINES_ON_DARK if dark else LINES:
        assert contrast(colour, paper) > 2.9, colour
    for colour in (RIGHT, WRONG):
        assert contrast(colour, "white") > 4.4


@pytest.mark.parametrize("colour", [RIGHT, WRONG, ACCEPTED])
def test_a_colour_keeps_its_hue_on_dark(colour):
    light, dark = (rgb_to_hsv(to_rgb(each))[0] for each in (colour, ON_DARK[colour]))
    assert dark == pytest.approx(light, abs=0.05)


def test_colours_differ_without_red_and_green():
    for colours in (LINES[:3], LINES_ON_DARK[:3], (RIGHT, WRONG)):
        for one, other in itertools.combinations(colours, 2):
            seen = [
                np.clip(DEUTERANOPIA @ linear(colour), 0, 1) ** (1 / 2.2) for colour in (one, other)
            ]
            assert np.linalg.norm(seen[0] - seen[1]) > 0.25, (one, other)


def test_pages_have_the_colours_of_pictures():
    css = page_sources("explorer")["theme.css"].read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in css.split("@media"))
    assert (light["ink"], light["right"], light["wrong"]) == (INK, RIGHT, WRONG)
    assert (light["same"], light["strangers"]) == LINES[:2]
    assert (dark["same"], dark["strangers"]) == LINES_ON_DARK[:2]


@pytest.fixture
def fonts_of(monkeypatch):
    """A function that says which font files this computer has."""

    def put(files):
        monkeypatch.setattr(style, "findSystemFonts", lambda: list(map(str, files)))
        for function in (style._width, style._family, style._other_fonts):
            function.cache_clear()

    monkeypatch.setattr(style.fontManager, "ttflist", list(style.fontManager.ttflist))
    yield put
    monkeypatch.undo()
    put([])


def one_letter(file, letter, width):
    """Write a font with one letter, a full square, of this share of its size."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 700), (600, 700), (600, 0)):
        (pen.lineTo if pen.points else pen.moveTo)(place)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "letter"])
    font.setupCharacterMap({ord(letter): "letter"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "letter": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "letter": (int(1000 * width), 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "One Letter", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(file)


def test_letters_that_the_font_lacks_are_drawn_in_another_or_as_boxes(tmp_path, fonts_of, caplog):
    assert text_width("A", 72) == pytest.approx(1401 / 2048)  # of DejaVu Sans

    def is_square(name):
        with picture(tmp_path / name, 2, 1) as figure:
            figure.text(0.1, 0.5, "陈", size=40, weight="bold")
        ink = np.asarray(Image.open(tmp_path / name).convert("L")) < 128
        rows, columns = np.nonzero(ink)
        return ink[rows.min() : rows.max(), columns.min() : columns.max()].all()

    fonts_of([])
    assert not is_square("boxes.png")
    assert "boxes.png: no font here has 陈: boxes stand for these letters" in caplog.text
    assert [text_width(each, 72) for each in "陈한กि"] == [1, 1, 1, 1]
    one_letter(tmp_path / "one.ttf", "陈", 0.7)
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    fonts_of([tmp_path / "broken.ttf", tmp_path / "one.ttf"])
    assert [text_width(each, 72, "bold") for each in "陈한"] == [pytest.approx(0.7), 1]
    assert is_square("square.png")
    assert "square.png" not in caplog.text
