"""A run states the code and the libraries that it comes from."""

import re
import shutil
import subprocess

import timm
import torch

import person_reid
from person_reid import versions as module
from person_reid.versions import versions
from tests.support import ROOT


def test_the_suite_has_the_version_of_its_package():
    assert versions()["suite"] == person_reid.__version__
    assert (
        '[tool.hatch.version]\npath = "person_reid/__init__.py"'
        in (ROOT / "pyproject.toml").read_text()
    )
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited
    assert cited[1] == person_reid.__version__


def test_the_libraries_are_named():
    found = versions()
    assert found["timm"] == timm.__version__
    assert torch.__version__.startswith(found["torch"])
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])


def test_the_commit_is_named_and_marked_where_files_differ_from_it(tmp_path, monkeypatch):
    if not shutil.which("git"):
        return
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    assert "commit" not in versions()

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / "code.py").write_text("one = 1\n")
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text("# Results\n")
    git("add", "code.py", "docs")
    git("commit", "-m", "One.")
    commit = git("rev-parse", "--short", "HEAD")
    assert versions()["commit"] == commit
    page.write_text("# Results\n\nOne run.\n")  # what tools/reproduce.py writes
    assert versions()["commit"] == commit
    (tmp_path / "code.py").write_text("one = 2\n")
    assert versions()["commit"] == f"{commit}+"
    inner = tmp_path / "inner"
    inner.mkdir()
    # A copy of the suite in a repository of something else.
    monkeypatch.setattr(module, "CHECKOUT", inner)
    assert "commit" not in versions()
