"""The site: mkdocs.yml names the pages. Nothing is built."""

import re

import pytest
import yaml

from tests.docs.test_pages import FURTHER
from tests.support import ROOT
from tests.support.pages import INLINE, PAGES, prose

MEASURING = ("docs/evaluation.md",)  # it shows how figures are reported
NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def pages_of(entries):
    """The paths of the pages below some entries of the navigation, in order."""
    found: list[str] = []
    for entry in entries:
        for below in entry.values():
            found += [below] if isinstance(below, str) else pages_of(below)
    return found


def groups(entries):
    """{title: entries} of every group of the navigation, also of those within others."""
    found: dict[str, list] = {}
    for entry in entries:
        for title, below in entry.items():
            if not isinstance(below, str):
                found |= {title: below, **groups(below)}
    return found


def test_pages_are_grouped_by_what_readers_want():
    assert [title for entry in NAVIGATION for title in entry] == [
        "Start", "Do", "Understand", "Look up", "Develop",
    ]  # fmt: skip


def test_no_group_is_long():
    assert {title: len(each) for title, each in groups(NAVIGATION).items() if len(each) > 7} == {}


@pytest.mark.parametrize(
    "path", [path for path in pages_of(groups(NAVIGATION)["Do"]) if path not in MEASURING]
)
def test_what_was_measured_is_looked_up(path):
    """A page that shows how to do something has no dated measurement; it links to a table."""
    text = prose((ROOT / path).read_text(encoding="utf-8"))
    assert re.findall(r"\b20\d\d-\d\d-\d\d\b", INLINE.sub("", text)) == []


def test_the_navigation_names_every_page_once():
    pages = [path.relative_to(ROOT).as_posix() for path in [*PAGES, *FURTHER]]
    assert sorted(pages_of(NAVIGATION)) == sorted(pages)
