"""The site: mkdocs.yml names the pages. Nothing is built."""

import re

import pytest
import yaml

from tests.docs.test_pages import FURTHER
from tests.support import ROOT
from tests.support.pages import INLINE, LINK, PAGES, prose

MEASURING = ("docs/evaluation.md",)  # it shows how figures are reported


def groups():
    """{heading: paths} of the site's navigation; a page without a heading has its own title."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found = {}
    for entry in site["nav"]:
        for title, pages in entry.items():
            pages = [{title: pages}] if isinstance(pages, str) else pages
            found[title] = [path for page in pages for path in page.values()]
    return found


def test_every_page_is_of_one_kind():
    assert [*groups()] == ["Begin", "Learn", "Do", "Look up", "Understand"]


@pytest.mark.parametrize("path", [path for path in groups()["Do"] if path not in MEASURING])
def test_what_was_measured_is_looked_up(path):
    """A page that shows how to do something has no dated measurement; it links to a table."""
    text = prose((ROOT / path).read_text(encoding="utf-8"))
    assert re.findall(r"\b20\d\d-\d\d-\d\d\b", INLINE.sub("", text)) == []


def test_the_navigation_names_every_page_once():
    named = sorted(path for paths in groups().values() for path in paths)
    pages = [path.relative_to(ROOT).as_posix() for path in [*PAGES, *FURTHER]]
    assert named == sorted(pages)


def test_the_readme_lists_the_pages_in_the_order_of_the_site():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## All pages")[2]
    listed = {
        item[1]: [match[1] for match in LINK.finditer(item[2]) if match[1].endswith(".md")]
        for item in re.finditer(r"^- \*\*(.+?)\*\*:(.+?)(?=^- |\Z)", readme, re.M | re.S)
    }
    expected = {title: paths for title, paths in groups().items() if paths != ["README.md"]}
    assert list(listed.items()) == list(expected.items())
