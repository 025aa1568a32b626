"""Messages that pages cite are those of the code; terms of the glossary occur elsewhere."""

import ast
import re
from functools import cache

import pytest

from tests.support import ROOT
from tests.support.pages import INLINE, PAGES

# The columns in which pages cite messages: everything in backquotes there is one.
CITING = ("troubleshooting.md", "gallery.md")
GAP = "…"  # what is not the same in every message
GLOSSARY = ROOT / "docs" / "glossary.md"


def text_of(node):
    """The text of a literal, with GAP for what is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else GAP


def docstrings(tree):
    """The nodes of texts that nothing reads."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


@cache
def messages():
    """The literal texts of the code."""
    found = set()
    for pattern in ("*.py", "tools/*.py", "person_reid/**/*.py"):
        for path in ROOT.glob(pattern):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in set(ast.walk(tree)) - docstrings(tree):
                if isinstance(node, ast.JoinedStr | ast.Constant):
                    text = re.sub(r"%[-\w.,]*[dsgf]", GAP, text_of(node))
                    found.add(re.sub(r"\s+", " ", text))
    return found


def is_said(words):
    """Whether some message has these words, in which GAP stands for anything."""
    parts = [re.escape(part.strip()) for part in words.split(GAP)]
    pattern = re.compile(r".*?".join(parts))
    return any(pattern.search(message) for message in messages())


def cited(page):
    """The messages that a page cites: of troubleshooting in tables, elsewhere in quotes."""
    if page != CITING[0]:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        return [re.sub(r"\s+", " ", words) for words in re.findall(r'"([^"]{20,}?)"', text)]
    rows = re.findall(r"^\| (.+?) \| ", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M)
    return [words[1] for row in rows if row.startswith("`") for words in INLINE.finditer(row)]


@pytest.mark.parametrize("page", CITING)
def test_cited_messages_are_those_of_the_code(page):
    assert cited(page)
    assert [words for words in cited(page) if not is_said(words)] == []


def test_a_message_that_nothing_says_is_noticed():
    assert is_said("this program knows versions up to")
    assert is_said("resume: … was trained on images other than those of …. Name their folder")
    assert not is_said("this program knows all versions")
    assert not is_said("is trained on. … No validation")


def terms():
    """The terms of each table of the glossary."""
    tables = GLOSSARY.read_text(encoding="utf-8").split("\n## ")[1:]
    return [re.findall(r"^\| (?!term |---)(.+?) \|", table, re.M) for table in tables]


def test_terms_occur_in_pages_or_code_and_are_in_alphabetical_order():
    texts = [path for path in PAGES if path != GLOSSARY]
    texts += [path for part in ("person_reid", "tools") for path in (ROOT / part).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in texts).casefold()
    text = re.sub(r"[\s_-]+", " ", text)
    found = [term for table in terms() for term in table]
    assert len(found) == len(set(found)) > 50
    missing = [
        term
        for term in found
        if not re.search(rf"\b{re.escape(re.sub('-', ' ', term).casefold())}", text)
    ]
    assert missing == []
    for table in terms():
        assert table == sorted(table, key=str.casefold)
