"""docs/api.md: its examples run, one after another. docs/reference.md lists every public name."""

import re
import subprocess
import sys

import pytest

import person_reid
from tests.support import ROOT
from tests.support.pages import blocks
from tools.docs.api import REFERENCE, page

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples_run_in_order(here, capsys):
    names: dict = {}
    for block in blocks(PAGE):
        if block.remark.startswith("not run: "):
            continue
        exec(compile(block.text, f"docs/api.md, line {block.line}", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"^Anna 1\.0\d* Ben 0\.\d+$", said, re.M)
    assert "\nBen None\n" in said
    assert re.search(r"^Rank@1:.* mINP:", said, re.M)
    assert "Did you mean 'resnet50'?" in said
    assert names["features"].shape == (6, 512)
    assert (here / "pytorch_result.mat").exists()


def test_the_reference_is_that_of_the_docstrings():
    text = REFERENCE.read_text(encoding="utf-8")
    assert text == page(), "python tools/docs/api.py writes it again"
    rows = re.findall(r"^\| `(\w+)(.*?)` \| (.+?) \|", text, re.M)
    assert sorted(name for name, *_ in rows) == sorted(person_reid.__all__)
    assert [name for name, _, summary in rows if summary[-1] not in ".:"] == []
    arguments = {name: said for name, said, _ in rows}
    assert arguments["load_weights"] == "(network, path, strict=False)"
    assert arguments["About"].startswith("(identity=None, camera=None")
    assert (arguments["Gallery"], arguments["FitOptions"]) == ("", "(**options)")


def test_the_site_shows_the_docstring_of_every_name():
    site = pytest.importorskip("tools.docs.site", reason="pip install -e .[docs]")
    shown = site.with_docstrings(REFERENCE.read_text(encoding="utf-8"))
    assert sorted(re.findall(r"^::: person_reid\.(\w+)$", shown, re.M)) == sorted(
        person_reid.__all__
    )


CHANGES = """
import logging, os, signal, sys
import person_reid

person_reid.list_models()
if {"torch", "timm"} & {*sys.modules}:
    print("list_models imports PyTorch")
import torch

def state():
    loggers = [logging.root, logging.getLogger("person_reid")]
    return {
        "hooks": (sys.excepthook, sys.unraisablehook, sys.stdout, sys.stderr),
        "handlers": [(list(logger.handlers), logger.level) for logger in loggers],
        "environment": dict(os.environ),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "random numbers": torch.get_rng_state().tolist(),
    }

before = state()
for name in person_reid.__all__:
    getattr(person_reid, name)
    after = state()
    changed = [what for what in before if before[what] != after[what]]
    if changed:
        print(name, *changed)
    before = after
"""


def test_looking_up_a_name_changes_nothing_in_the_process_and_torch_waits_until_it_is_needed():
    done = subprocess.run(
        [sys.executable, "-c", CHANGES], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == ""


def test_a_name_that_the_package_does_not_have_is_an_attribute_error():
    name = "Embeder"
    with pytest.raises(AttributeError, match=name):
        getattr(person_reid, name)
