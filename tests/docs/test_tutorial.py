"""Every command of the tutorial and its notebook runs in order, and its worked example is right."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from person_reid.retrieval.metrics import evaluate, summarize
from person_reid.retrieval.results import FeatureSet
from tests.support.pages import ROOT, Block, blocks, in_block, prose
from tools.docs.notebook import SET_UP, notebook

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
# Fewer people, one epoch: the reader's figures mean something, and these take a minute. Each must
# occur.
SMALLER = {
    "--identities 60 --test_identities 30":
        "--identities 8 --test_identities 5 --cameras 4 --images 2 --distractors 9 --junk 5",
    "total_epoch: 20": "total_epoch: 1",
    "backbone: osnet_x0_25": "backbone: test_resnet",
    "0061_c1s1_001081_00": "0009_c1s1_000065_00",
    "0061_c4s1_001093_00": "0009_c4s1_000074_00",
    "query/0061": "query/0009",
}  # fmt: skip


def smaller(text):
    for words, fewer in SMALLER.items():
        text = text.replace(words, fewer)
    return text


def run(source, names):
    """Do what a cell of the notebook says, in the current folder.

    It writes its file, or runs its Python or its commands. A command is a call of its script's
    main, which is what `!python SCRIPT` does, but torch is imported only once.
    """
    text = smaller(source)
    if text.startswith("%%writefile "):
        path, _, content = text.removeprefix("%%writefile ").partition("\n")
        Path(path).write_text(content, encoding="utf-8")
        return
    lines = text.splitlines()
    found = in_block(
        Block(1, "bash", "\n".join(line[1:] for line in lines if line.startswith("!")), "")
    )
    assert len(found) == sum(line.startswith("!") for line in lines), (
        f"more than our scripts: {text}"
    )
    for command in found:
        script = importlib.import_module(command.script.removesuffix(".py").replace("/", "."))
        script.main(command.arguments)
    exec("\n".join(line for line in lines if not line.startswith("!")), names)


def cells(kind):
    """The sources of the notebook's cells of a kind."""
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


@pytest.mark.skipif(
    torch.__version__ < "2.7", reason="PyTorch 2.6 cannot write the course's network to ONNX"
)
@pytest.mark.slow
def test_every_command_runs_in_order_and_leaves_the_files_that_the_page_names(
    tmp_path, monkeypatch
):
    pytest.importorskip("onnxruntime")
    assert [words for words in SMALLER if words not in PAGE] == []
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    names = {"Image": lambda path: Image.open(path).verify(), "display": shown.append}
    rest = cells("code")[1:]
    for source in rest:
        run(source, names)
    assert (
        len(shown) == sum("display(" in line for source in rest for line in source.splitlines()) > 4
    )
    named = set(re.findall(r"(?<![\w./])(?:data|model)/[\w./-]*\w", smaller(PAGE)))
    assert {"model/first/train.jpg", "data/show.png", "data/found.png"} <= named
    # data/threshold: .json and .png
    assert {path for path in named if not list(tmp_path.glob(f"{path}*"))} == set()


def test_the_notebook_is_the_page():
    again = "docs/tutorial.ipynb is behind docs/tutorial.md: python tools/docs/pages.py"
    assert notebook(PAGE) == (ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"), again
    runs = [
        block
        for block in blocks(PAGE)
        if re.match("file: ", block.remark) or block.language in ("bash", "python")
    ]
    runs = [block for block in runs if not block.remark.startswith("not run: ")]
    code, text = "\n".join(cells("code")), "\n".join(cells("markdown"))
    assert [block.line for block in runs if block.text.splitlines()[0] not in code] == []
    assert all(
        re.search(f"^{re.escape(heading)}$", text, re.M)
        for heading in re.findall("^## [^1].*$", PAGE, re.M)
    )
    assert "<!-- page only" not in text
    assert "## 1. Set up" not in text
    assert "<!-- = " not in text


def test_the_notebook_has_the_form_that_jupyter_reads():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name) for name in names)
    for cell in NOTEBOOK["cells"]:
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | code


@pytest.mark.parametrize("place", ["docs", ".", "clone", "nowhere"])
def test_the_notebook_finds_its_repository(place, tmp_path, monkeypatch):
    """It finds it in docs, in its own folder, and alone, where it clones it.

    Nothing that is there is installed.
    """
    (tmp_path / "docs").mkdir()
    if place in ("docs", "."):
        (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path / ("docs" if place == "docs" else "."))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Image=None, display=None))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PATH", os.environ["PATH"])
    called: list[list[str]] = []

    def clone(words, check):
        called.append(words)
        Path(words[-1]).mkdir()

    monkeypatch.setattr(subprocess, "run", clone)
    set_up = cells("code")[0]
    if place == "nowhere":
        with pytest.raises(FileNotFoundError, match="where to clone it from"):
            exec(set_up, {})
        return
    exec(
        set_up.replace('REPOSITORY = ""', 'REPOSITORY = "address"') if place == "clone" else set_up,
        {},
    )
    assert called == ([["git", "clone", "address", "course"]] if place == "clone" else [])
    assert Path.cwd() == (tmp_path / "course" if place == "clone" else tmp_path)
    assert sys.path[0] == str(Path.cwd())
    assert os.environ["PATH"].startswith(str(Path(sys.executable).parent))


def test_commands_files_python_and_the_rest_become_cells():
    page = """# Title

<!-- page only -->
[nowhere](#two)
<!-- notebook too -->

## One

<!-- = networks -->49<!-- / --> networks, as [here](#two).

```bash
python a.py \\
    --save b.png
python c.py
```

<!-- file: d.yaml -->
```yaml
e: 1
```

<!-- not run: why -->
```bash
python f.py
```

## Two

```python
g = 1
```
"""
    found = [
        (cell["cell_type"], "".join(cell["source"])) for cell in json.loads(notebook(page))["cells"]
    ]
    assert found == [
        ("markdown", "# Title"),
        ("code", SET_UP.rstrip()),
        ("markdown", "## One\n\n49 networks, as here."),
        ("code", '!python a.py \\\n    --save b.png\n!python c.py\ndisplay(Image("b.png"))'),
        ("code", "%%writefile d.yaml\ne: 1"),
        ("markdown", "```bash\npython f.py\n```"),
        ("markdown", "## Two"),
        ("code", "g = 1"),
    ]


def row(line):
    """(identity, camera, similarity, verdict, rank) of a line of the worked example.

    The rank is 0 where the line has none.
    """
    image, similarity, verdict, rank = (cell.strip(" `") for cell in line.strip("|").split("|"))
    identity, camera = image.split("_c")
    return int(identity), int(camera), float(similarity), verdict, int(rank or 0)


def test_the_example_worked_by_hand_is_right():
    rows = [row(line) for line in re.findall(r"^\| `-?\d+_c\d` .*\|$", PAGE, re.M)]
    labels, cameras, similarities = (np.array([row[column] for row in rows]) for column in range(3))
    query = FeatureSet(np.ones((1, 1), np.float32), np.array([7]), np.array([1]), None)
    gallery = FeatureSet(np.ones((len(rows), 1), np.float32), labels, cameras, None)

    def scores(start, stop):
        return similarities[None].astype(np.float32)

    step, usual = (evaluate(query, gallery, ap, scores) for ap in ("step", "trapezoidal"))
    right = [rank for *_, verdict, rank in rows if verdict == "right"]
    assert right == [1, 3, 5]
    assert [rank for *_, rank in rows if rank] == [1, 2, 3, 4, 5, 6]
    assert step.rank(1) == usual.rank(1) == 1
    assert usual.num_matches[0] == 3
    assert {"ignored" in verdict for *_, verdict, rank in rows if not rank} == {True}
    assert list(similarities) == sorted(similarities, reverse=True)
    said = [f"0.{part}" for part in re.findall(r"0\.(\d{3})", PAGE)]
    other, both, a, b = (
        summarize(np.array(ranks) - 1, np.array(queries), np.arange(count), 10)
        for ranks, queries, count in (
            ([2, 4], [0, 0], 1),
            ([1, 3, 5, 2, 4], [0, 0, 0, 1, 1], 2),
            ([1, 9, 10], [0, 0, 0], 1),
            ([2, 3, 4], [0, 0, 0], 1),
        )
    )
    worked = (step.mAP, usual.mAP, usual.mINP, other.mAP, other.mINP, a.mAP, b.mAP)
    assert [f"{value:.3f}" for value in worked if f"{value:.3f}" not in said] == []
    text = prose(PAGE)
    assert both.rank(1) == 0.5
    assert both.rank(5) == 1
    assert f"{both.mAP:.1%}".replace("%", " %") in text
    assert f"{both.mINP:.1%}".replace("%", " %") in text
