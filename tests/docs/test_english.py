"""Patterns of sentences that a native editor would change, in the prose and tables of the pages.

Each was found in sentences drawn at random, and has no false alarm on any page.
"""

import re

import pytest

from tests.docs.test_pages import FURTHER
from tests.support.pages import INLINE, PAGES, line_of, prose

CLUMSY = {
    r"\b(is|are|was|were|be) none\b(?! of)": "Such a file is none.",
    r", too[.:;)]": "It works with lists, too.",
    r"\b(thereof|therein|whereof|therewith|herein|wherein)\b": "a file and the name thereof",
    r"\b(has|have) to be \w+ed\b": "The file has to be renamed.",
    r"\b(is|are|was|were) of (a|an|the|several|another)\b": "The images are of another camera.",
    r"\b([Aa]|[Aa]n|[Tt]he) made [a-z]": "The index holds a made video.",
    r"\b(name|column|row)s? says? (a|an|its|the|their)\b": "Their names say the seed.",
    r"\b(twice|half|times) too (few|high|large|low|many|small)\b": "They are twice too high.",
    r"\bcalled like\b": "A column may be called like another.",
    r"\binterval of confidence\b": "It is no interval of confidence.",
    r"\blike in\b": "Networks are built like in their paper.",
    r"\bnames (must|may) say\b": "The names must say video and frame.",
    r"\b(is|are) (an)?others?[.;]": "With them, the cosines are others.",
    r"\bpercent\b": "The table gives mAP in percent.",
    r"\bproxy before\b": "A proxy before the service encrypts.",
    r"\bin whose place\b": "The mean, in whose place another is used, is unknown.",
}
SOUND = """
There is none of them. It is too dark, and too small. The camera has to be cheap. That is of use.
The tracker made boxes. A line says the same. They are much too high.
"""


def clumsy(text):
    """(line, words) of every pattern in the prose of a page, without its code."""
    text = INLINE.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), prose(text))
    found = [
        (line_of(text, match.start()), match[0])
        for pattern in CLUMSY
        for match in re.finditer(pattern.replace(" ", r"\s+"), text)
    ]
    return sorted(found)


@pytest.mark.parametrize("path", [*PAGES, *FURTHER], ids=lambda path: path.name)
def test_a_page_has_no_sentence_that_an_editor_would_change(path):
    assert clumsy(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("pattern", "sentence"), CLUMSY.items())
def test_a_clumsy_sentence_is_found(pattern, sentence):
    assert re.search(pattern, sentence)
    assert len(clumsy(f"# Page\n\n{sentence}\n")) == 1


def test_a_sound_sentence_is_let_through():
    assert clumsy(SOUND) == []
