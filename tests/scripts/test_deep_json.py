"""JSON nested 200,000 deep, in every file that is read as JSON: one line, no traceback."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from person_reid.data.images.image_files import PREPARED_RECORD
from person_reid.data.prepare import read_record
from person_reid.deploy.engine import Engine
from person_reid.deploy.exported_files import Contents
from person_reid.deploy.pretrained import open_pretrained
from person_reid.deploy.publish import check_output
from person_reid.errors import UserError
from person_reid.files import read_json_lines
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.thresholds import load_bound, load_threshold
from person_reid.run_folder import read_history
from person_reid.synthetic.dataset import MANIFEST, claim
from tests.deploy.test_hostile import written

pytestmark = pytest.mark.usefixtures("here")
DEEP = [200_000 * "[" + 200_000 * "]", 200_000 * '{"a":' + "1" + 200_000 * "}", 200_000 * "["]


def recall(file):
    index = SearchIndex("people.index")
    index.add(["a.jpg"], np.ones((1, 4), np.float32))
    index.store.db.rows("INSERT INTO about VALUES ('deep', ?)", (file.read_text(),))
    return index.recall("deep")


def exported(file):
    written(Path("net.pt"))
    torch.jit.save(
        torch.jit.load("net.pt"), "deep.pt", _extra_files={"person-reid": file.read_text()}
    )
    return Engine("deep.pt")


READERS = {
    "a line of a log": lambda file: read_json_lines(file),
    "the log of a run": lambda file: read_history(file),
    "a threshold": lambda file: load_threshold(file),
    "a folder of save_pretrained": lambda file: open_pretrained(file.rename("config.json").parent),
    "a folder to save_pretrained to": lambda file: check_output(file.rename("config.json").parent),
    "what is drawn in a folder": lambda file: claim(file.rename(MANIFEST).parent, {}),
    "an index": recall,
    "an exported file": exported,
}  # fmt: skip


@pytest.mark.parametrize("text", DEEP, ids=["lists", "objects", "cut short"])
@pytest.mark.parametrize("reader", READERS)
def test_json_that_is_nested_too_deeply_is_refused_in_one_line(reader, text, here):
    Path("deep.json").write_text(text)
    with pytest.raises(UserError) as error:
        READERS[reader](here / "deep.json")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", DEEP, ids=["lists", "objects", "cut short"])
def test_notes_that_are_nested_too_deeply_are_like_none(text, here):
    for name in (PREPARED_RECORD, "config.json"):
        (here / name).write_text(text)
    assert read_record(here) == {}
    assert load_bound(here) is None
    with pytest.raises(ValueError, match="nested too deeply|Expecting|delimiter"):
        Contents.from_json(json.dumps({"a": 1})[:-1] + ', "b": ' + text + "}")
