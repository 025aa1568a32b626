import base64
import io
import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from person_reid.show import page

VOID = {"meta", "link", "img", "source", "br", "wbr"}


class Checker(HTMLParser):
    """Raises where tags do not close in order.

    It collects all that a browser would load, and the text.
    """

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [
            value
            for name, value in attributes
            if name in ("src", "srcset", "href", "data", "action")
        ]
        assert tag != "script"
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def check(text):
    """The Checker of a whole page, which loads nothing from outside itself."""
    checked = Checker(text)
    here = {f"#{name}" for name in re.findall(r'<section id="([^"]*)"', text)}
    outside = [each for each in checked.sources if not each.startswith("data:")]
    assert set(map(escape, outside)) <= here, outside
    assert not re.search(r"url\(|@import", text)
    return checked


def test_a_page_is_balanced_escaped_and_needs_nothing_else():
    evil = "<script>alert('&')</script>\""
    pixels = np.zeros((4, 2, 3), np.uint8)
    body = [
        page.html_section(evil, page.numbers({evil: evil}), remark=evil),
        page.table([evil, "Rank@1"], [[evil, 1.5]], evil),
        page.details(evil, page.tiles([([pixels, pixels], "right", [evil, "c3"])])),
        page.chart(lambda path, look: path.write_text("<svg/>"), evil),
    ]
    text = page.html_page(evil, evil, body)
    checked = check(text)
    assert text.startswith("<!DOCTYPE html>")
    assert 'name="viewport"' in text
    assert "".join(checked.text).count(evil) == 12
    assert "prefers-color-scheme: dark" in text


def test_the_checker_can_fail():
    for text in (
        "<p><b></p></b>",
        "<p>",
        "<script></script>",
        '<img src="http://a.b/c.png">',
        "<p onclick=x></p>",
    ):
        with pytest.raises(AssertionError):
            check(text)


def test_a_chart_has_a_light_and_a_dark_drawing():
    html = page.chart(lambda path, look: path.write_text(f"<svg>{look.dark}</svg>"), "words")
    assert 'class="scroll"' in html
    dark, light = (base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", html))
    assert (light, dark) == (b"<svg>False</svg>", b"<svg>True</svg>")
    assert html.index("prefers-color-scheme: dark") < html.index("srcset") < html.index("<img")


def test_a_wide_chart_says_that_it_scrolls_on_a_phone():
    chart = page.chart(lambda path, look: path.write_text("<svg/>"), "words", wide=True)
    assert 'class="scroll wide"' in chart
    assert ".wide::before" in page.html_page("title", "", [chart])


def test_photographs_are_small_and_keep_their_colour():
    pixels = np.full((256, 128, 3), (200, 30, 60), np.uint8)
    content = base64.b64decode(page.photograph_uri(pixels).removeprefix("data:image/jpeg;base64,"))
    image = Image.open(io.BytesIO(content))
    assert image.size == page.THUMBNAIL
    assert len(content) < 2000
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() < 8


def test_a_page_of_several_sections_begins_with_links_to_them():
    body = [
        page.html_section(title, page.heading("a", "b")) for title in ("Metrics", "Same & other")
    ]
    html = page.html_page("title", "", body)
    assert '<a href="#metrics">Metrics</a>' in html
    assert '<section id="metrics">' in html
    assert '<a href="#same-&amp;-other">Same &amp; other</a>' in html
    assert "<nav" not in page.html_page("title", "", body[:1])


def test_halves_are_beside_each_other():
    html = page.halves([page.heading("left", ""), page.heading("right", "")])
    assert html.count("<div>") == 2
    assert html.index("left") < html.index("right")
