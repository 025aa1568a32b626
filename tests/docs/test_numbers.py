"""Numbers in the prose of pages that the code decides: each sentence has the code's number."""

import pytest

from person_reid.deploy.export import TOLERANCE_OF_DTYPE
from person_reid.gallery.index import EXACT, MOST_ADMITTED
from person_reid.gallery.index_file import CONFIRMED
from person_reid.gallery.indexing import FIRST_CHUNK, LARGEST_CHUNK
from person_reid.gallery.inverted_lists import MOST_NEWER, RECALL
from person_reid.retrieval.belief import SUREST
from person_reid.retrieval.label_errors import LEAST_ACCURACY, WEAK
from person_reid.show.style import MANY
from person_reid.training.adaptation import LEAST_KEPT
from tests.support import ROOT

SMALL, HALF = TOLERANCE_OF_DTYPE["float32"], TOLERANCE_OF_DTYPE["float16"]
WORDS = {10: "ten"}
SENTENCES = [
    ("docs/search.md", f"transactions of {FIRST_CHUNK} to {LARGEST_CHUNK:,},"),
    ("docs/search.md", f"With up to {EXACT:,} images, a query is compared with all of them."),
    ("docs/search.md", f"with these indexes, in files of up to {CONFIRMED:,} images"),
    ("docs/how-it-works.md", f"With up to {EXACT:,} images, a query is compared with all of them."),
    ("docs/how-it-works.md", f"enough lists to find {RECALL} of the ten nearest images"),
    ("docs/how-it-works.md", f"when there are more than {MOST_NEWER:,} of them"),
    ("docs/how-it-works.md", f"If at most {MOST_ADMITTED:,} images pass, all of them are"),
    ("docs/adaptation.md", f"If `kept` is below {LEAST_KEPT} at the end"),
    ("docs/label-errors.md", f"Below {LEAST_ACCURACY * 100:.0f} % the network cannot tell"),
    ("docs/label-errors.md", f"Below {WEAK * 100:.0f} % it warns"),
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
