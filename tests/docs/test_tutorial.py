"""The tutorial: every command of it runs, in order, and what it works out by hand is right."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from person_reid.retrieval.metrics import evaluate, summarize
from person_reid.retrieval.results import FeatureSet
from tests.support.pages import ROOT, blocks, in_block, prose

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# Fewer people, one epoch: the reader's figures mean something, and these take a minute. Each must occur.
SMALLER = {
    "--identities 60 --test_identities 30":
        "--identities 8 --test_identities 5 --cameras 4 --images 2 --distractors 9 --junk 5",
    "total_epoch: 20": "total_epoch: 1",
    "0061_c1s1_001081_00": "0009_c1s1_000065_00",
    "0061_c4s1_001093_00": "0009_c4s1_000074_00",
    "query/0061": "query/0009",
}  # fmt: skip


def smaller(text):
    for words, fewer in SMALLER.items():
        text = text.replace(words, fewer)
    return text


def run(block):
    """Do what a block says, in the current folder: write its file, run its Python, or its commands one after another.

    A command is a call of its script's main, which is what `python SCRIPT` does, but torch is imported only once.
    """
    text = smaller(block.text)
    if block.remark.startswith("file: "):
        Path(block.remark.removeprefix("file: ")).write_text(text, encoding="utf-8")
    elif block.language == "python":
        exec(compile(text, f"tutorial.md, line {block.line}", "exec"), {})
    elif block.language == "bash":
        found = in_block(type(block)(block.line, block.language, text, block.remark))
        assert len(found) == len(text.replace("\\\n", "").splitlines()), f"line {block.line}: more than our scripts"
        for command in found:
            script = importlib.import_module(command.script.removesuffix(".py").replace("/", "."))
            script.main(command.arguments)


def test_every_command_runs_in_order_and_leaves_what_is_promised(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    assert [words for words in SMALLER if words not in PAGE] == []
    monkeypatch.chdir(tmp_path)
    for block in blocks(PAGE):
        if not block.remark.startswith("not run: "):
            run(block)
    promised = set(re.findall(r"(?<![\w./])(?:data|model)/[\w./-]*\w", smaller(PAGE)))
    assert {"model/first/train.jpg", "data/show.png", "data/found.png"} <= promised
    assert {path for path in promised if not list(tmp_path.glob(f"{path}*"))} == set()  # data/threshold: .json and .png


def row(line):
    """(identity, camera, similarity, verdict, rank) of a line of the worked example; rank 0 where it has none."""
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
    assert right == [1, 3, 5] and [rank for *_, rank in rows if rank] == [1, 2, 3, 4, 5, 6]
    assert step.rank(1) == usual.rank(1) == 1 and usual.num_matches[0] == 3
    assert {"left out" in verdict for *_, verdict, rank in rows if not rank} == {True}
    assert list(similarities) == sorted(similarities, reverse=True)
    said = [f"0.{part}" for part in re.findall(r"0\.(\d{3})", PAGE)]
    other, both, a, b = (
        summarize(np.array(ranks) - 1, np.array(queries), count, 10)
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
    assert both.rank(1) == 0.5 and both.rank(5) == 1
    assert f"{both.mAP:.1%}".replace("%", " %") in text and f"{both.mINP:.1%}".replace("%", " %") in text
