"""Turn a page of the documentation into a notebook: text cells, and commands in code cells.

A page's fenced blocks of `bash` and `python` become code, and so does a file shown under `<!--
file: NAME -->`. A block under `<!-- not run: WHY -->` stays text, as does the output of programs.
SET_UP replaces the text between `<!-- page only -->` and `<!-- notebook too -->`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tools.docs.figures import without_marks

FENCED = re.compile(
    r"(?:^<!-- (?P<remark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
PAGE_ONLY = re.compile(r"<!-- page only -->\n.*?<!-- notebook too -->\n\n?", re.S)
LINK_WITHIN = re.compile(r"\[([^\[\]]*)\]\(#[^()]*\)")  # anchors have other names in notebooks
SAVED_PICTURE = re.compile(r"--save (\S+\.(?:png|jpg))")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SET_UP = """\
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from IPython.display import Image, display

# If this notebook is alone, as on Colab: the address that git clones the repository from.
REPOSITORY = ""

if Path("../train.py").exists():  # the notebook lies in docs
    os.chdir("..")
elif not Path("train.py").exists():
    if not REPOSITORY:
        raise FileNotFoundError(
            "The notebook needs its repository: write above where to clone it from."
        )
    subprocess.run(["git", "clone", REPOSITORY, "course"], check=True)
    os.chdir("course")
if importlib.util.find_spec("timm") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"]
    subprocess.run(command, check=True)
sys.path.insert(0, str(Path.cwd()))
# So that `python` is the one that runs this notebook.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
"""


def notebook(page: str) -> str:
    """Return the notebook for a page, both as text; the same page gives the same notebook."""
    cells: list[dict[str, Any]] = []
    for kind, text in _pieces(PAGE_ONLY.sub("", without_marks(page))):
        cell = {
            "cell_type": kind,
            "id": f"cell-{len(cells)}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    content = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _pieces(page: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for each cell.

    The text before the first section comes first, then SET_UP, then the sections, divided at their
    code.
    """
    text, end = "", 0
    for match in FENCED.finditer(page):
        text += page[end : match.start()]
        end = match.end()
        if code := _code(match):
            yield from _sections(text)
            yield "code", code
            text = ""
        else:
            text += match[0].removeprefix(f"<!-- {match['remark']} -->\n")
    yield from _sections(text + page[end:])


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the cells for a piece of text, with a new cell at each heading.

    SET_UP comes before the first section.
    """
    for part in re.split(r"^(?=## )", LINK_WITHIN.sub(r"\1", text), flags=re.M):
        if part.strip():
            yield "markdown", part.strip()
        if part.startswith("# "):
            yield "code", SET_UP.rstrip()


def _code(match: re.Match[str]) -> str:
    """Return the code of a fenced block, or "" if it stays text."""
    remark, text = match["remark"] or "", match["text"].rstrip("\n")
    if remark.startswith("file: "):
        return f"%%writefile {remark.removeprefix('file: ')}\n{text}"
    if remark.startswith("not run: ") or match["language"] not in ("bash", "python"):
        return ""
    if match["language"] == "python":
        return text
    commands = re.sub(r"(?<!\\\n)^", "!", text, flags=re.M)  # continued lines are one command
    return "\n".join(
        [commands, *(f'display(Image("{name}"))' for name in SAVED_PICTURE.findall(text))]
    )
