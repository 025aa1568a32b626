"""docs/api.md: its examples run, one after another, and it names everything the package offers."""

import re
import subprocess
import sys

import pytest

import person_reid
from tests.support import ROOT
from tests.support.pages import blocks

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples_run_in_order(here, capsys):
    names: dict = {}
    for block in blocks(PAGE):
        exec(compile(block.text, f"docs/api.md, line {block.line}", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"^Anna 1\.0\d* Ben 0\.\d+$", said, re.M)
    assert "\nBen None\n" in said
    assert re.search(r"^Rank@1:.* mINP:", said, re.M)
    assert "Did you mean 'resnet50'?" in said
    assert names["features"].shape == (6, 512)
    assert (here / "pytorch_result.mat").exists()


def test_the_table_lists_what_the_package_offers():
    listed = re.findall(
        r"`(\w+)`",
        "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")),
    )
    assert sorted(listed) == sorted(person_reid.__all__)


def test_torch_is_imported_when_it_is_needed():
    code = (
        "import sys, person_reid as p; p.list_models(); "
        "print('torch' in sys.modules, 'timm' in sys.modules); "
    )
    code += "p.Embedder; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "False", "True"]


CHANGES = """
import logging, os, signal, sys
import torch
import person_reid

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


def test_looking_up_a_name_changes_nothing_in_the_process():
    done = subprocess.run(
        [sys.executable, "-c", CHANGES], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == ""


def test_a_name_that_the_package_does_not_have_is_an_attribute_error():
    name = "Embeder"
    with pytest.raises(AttributeError, match=name):
        getattr(person_reid, name)
