"""Patterns of sentences that a native editor would change, in pages, docstrings and messages.

Each was found in sentences drawn at random, and has no false alarm in any of them.
"""

import ast
import re

import pytest

from tests.docs.test_pages import FURTHER
from tests.support import ROOT
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
    r"\b(remark|line|message|log)s? (says?|said|counts) (which|what|how|why|where)\b": (
        "A remark counts which are missing."
    ),
    r"\b(says?|said) so\b": "It is too small, and the log says so.",
    r"\b(remark|line|warning) (counts|says|names) (them|it|those|that)\b": (
        "They are ignored, and a line counts them."
    ),
    r"\bof (one's|its|their|his|your|our) own\b(?! (identity|camera))": (
        "The target makes an environment of its own."
    ),
    r"\b(left out|leaves? out|leaving out|pass(ed|es) over)\b": "Such images are left out.",
    r"\b(byte|image|frame|batch|search|query|second|millisecond|MB|GB)(s|es)? an? "
    r"(number|image|frame|batch|query|second|minute|hour|day|camera|track|request|row)\b": (
        "It needs two bytes a number."
    ),
    r"\b(goes|go|went) on (where|with the|from)\b": "An interrupted run goes on where it was.",
    r"\bquiet (cores?|machine)\b": "It was measured on two quiet cores.",
    r"\b(is|are|was|were) mended\b": "Both are mended.",
    r"\bnobody (is|knows|reaches|of|in|who|failed|has)\b": "Then nobody is Anna.",
    r"\b(somebody|nobody) else\b": "Red marks somebody else.",
    r"\bsee (above|below)\b": "The rule, see above, is the default.",
    r"^(This|The) (page|course|explorer) is for\b": "This page is for those who search.",
}
# Of docstrings and messages, where shapes, lists and examples are no sentences.
SPOKEN = {
    r"\bof (its|their|your) own[.;]": "The cache has a folder of its own.",
    r"\b[Rr]emarks? (says?|counts?|names?|lists?)\b": "A remark counts those that are skipped.",
    r"\bstays? as (it is|they are)\b": "A row of zeros stays as it is.",
    r"\bmakes no sense\b": "Raises UserError for a line that makes no sense.",
    r"\bexplained at\b": "The parameters are explained at evaluate.",
    r"\b(is|are|was) called like\b": "A folder is called like a split.",
    r"\blearnt\b": "The codes are learnt from images.",
    r"\bmade-up\b": "The index holds made-up people.",
    r"\bin words[.,;]": "Return the threshold, in words.",
    r", too[.:;)]": "It reads lists, too.",
    r"\b(file|log|line|name)s? says? so\b": "It is 0 unless the file says so.",
    r"\b(somebody|nobody) else\b": "Red marks somebody else.",
    r"\bbefore (a|the|some|which) cameras?\b": "A track: a person before a camera.",
    r"\b(goes|go) on as\b": "The generators go on as before.",
}
CODE = [
    *ROOT.glob("*.py"),
    *(
        path
        for folder in ("person_reid", "losses", "tools", "benchmarks")
        for path in sorted(ROOT.glob(f"{folder}/**/*.py"))
    ),
]
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
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.M)
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


def test_docstrings_and_messages_have_no_such_sentence_either():
    found = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = re.sub(r"\s+", " ", node.value)
                found += [
                    (f"{path.name}:{node.lineno}", match[0])
                    for pattern in SPOKEN
                    for match in re.finditer(pattern, text)
                ]
    assert found == []


@pytest.mark.parametrize(("pattern", "sentence"), SPOKEN.items())
def test_a_clumsy_docstring_is_found(pattern, sentence):
    assert re.search(pattern, sentence)
