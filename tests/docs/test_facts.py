"""What pages say of the code: its numbers in prose, its files, and the names in them."""

import re

import pytest

from person_reid.deploy.export import TOLERANCE_OF_DTYPE
from person_reid.gallery.index import MOST_ADMITTED, MOST_COMPARED
from person_reid.gallery.indexing import FIRST_CHUNK, LARGEST_CHUNK
from person_reid.gallery.inverted_lists import MOST_NEWER, RECALL
from person_reid.retrieval.belief import SUREST
from person_reid.retrieval.label_errors import LEAST_ACCURACY, WEAK
from person_reid.show.style import MANY
from person_reid.training.adaptation import LEAST_KEPT
from tests.support import ROOT
from tests.support.pages import INLINE, prose

SMALL, HALF = TOLERANCE_OF_DTYPE["float32"], TOLERANCE_OF_DTYPE["float16"]
WORDS = {10: "ten"}
ALL_COMPARED = f"With up to {MOST_COMPARED:,} images, a query is compared with all of them."
SENTENCES = [
    ("docs/search.md", f"transactions of {FIRST_CHUNK} to {LARGEST_CHUNK:,},"),
    ("docs/search.md", ALL_COMPARED),
    ("docs/how-it-works.md", ALL_COMPARED),
    ("docs/how-it-works.md", f"lists to find {100 * RECALL:.0f} % of the ten nearest images"),
    ("docs/how-it-works.md", f"when there are more than {MOST_NEWER:,} of them"),
    ("docs/how-it-works.md", f"If at most {MOST_ADMITTED:,} images pass the filter,"),
    ("docs/adaptation.md", f"If `kept` is below {LEAST_KEPT} at the end"),
    ("docs/label-errors.md", f"Below {LEAST_ACCURACY * 100:.0f} %, the network cannot tell"),
    ("docs/label-errors.md", f"Below {WEAK * 100:.0f} %, it warns"),
    ("docs/label-errors.md", f"No probability is above {SUREST}"),
    ("docs/deployment.md", f"at most {SMALL:.0e}".replace("e-0", "e-")),
    ("docs/deployment.md", f"(float16: {HALF:.0e}".replace("e-0", "e-")),
    ("docs/pictures.md", f"Colours repeat after {WORDS[len(MANY)]} people"),
    (
        "person_reid/show/templates/explorer/map.js",
        f"Colours repeat after {WORDS[len(MANY)]} identities",
    ),
]


@pytest.mark.parametrize(("page", "sentence"), SENTENCES)
def test_a_number_in_prose_is_that_of_the_code(page, sentence):
    assert sentence in " ".join((ROOT / page).read_text(encoding="utf-8").split())


CODE_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
PYTHON_FILE = re.compile(r"[\w./]+\.(py|pyi|c)")
NAME_IN_FILE = re.compile(r"`(\w+)`,? (?:in|of) `([\w./]+\.pyi?)`")
ADDED_TO = re.compile(r"[Aa]dd [^.;`]*to `(\w+)` in `([\w./]+\.py)`")


def file_of(name):
    """The file of a name such as person_reid/files.py, files.py or tools/people.py; else None."""
    places = (ROOT / name, ROOT / "person_reid" / name)
    return next((place for place in places if place.is_file()), None)


@pytest.mark.parametrize("page", CODE_PAGES, ids=lambda page: page.name)
def test_files_of_the_code_that_a_page_names_are_there(page):
    text = prose(page.read_text(encoding="utf-8"))
    named = {match[1] for match in INLINE.finditer(text) if PYTHON_FILE.fullmatch(match[1])}
    assert len(named) > 10
    stems = {file.name for file in ROOT.glob("person_reid/**/*.*")}
    assert [name for name in named if not file_of(name) and name not in stems] == []


@pytest.mark.parametrize("page", CODE_PAGES, ids=lambda page: page.name)
def test_a_name_that_a_page_finds_in_a_file_is_there(page):
    found = NAME_IN_FILE.findall(" ".join(page.read_text(encoding="utf-8").split()))
    files = [(name, file_of(file)) for name, file in found]
    assert len(found) > 2
    assert [n for n, file in files if not file or n not in file.read_text("utf-8")] == []


def test_what_a_contributor_adds_to_is_a_table_in_that_file():
    """It is not a name for what has been made of the table."""
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    found = ADDED_TO.findall(text)
    assert len(found) > 5
    for name, file in found:
        table = rf"^ *{name}\b[^=\n]*= [{{\[]"
        assert re.search(table, (ROOT / file).read_text("utf-8"), re.M), (name, file)
