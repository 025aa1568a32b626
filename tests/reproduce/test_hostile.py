"""Recipes and results files that would write elsewhere, record other figures or break the page."""

import json
import os
from pathlib import Path

import pytest

from person_reid.errors import UserError
from tests.reproduce.test_reproduce import ABOUT, a_record, write_recipe
from tests.support.scripts import refused
from tools import reproduce
from tools.docs.figures import fill
from tools.docs.results import (
    RESULTS_END,
    append_record,
    read_records,
    read_results,
    recipe_tables,
    results_table,
)
from tools.recipe_file import RECIPE_KEY
from tools.recipes import plan, read_recipe


@pytest.fixture
def tiny(here):
    """The path of a recipe, in an empty working directory."""
    return write_recipe(here / "own" / "tiny.yaml")


@pytest.fixture
def never(monkeypatch):
    """The runs that were begun, which should stay none."""
    begun = []
    monkeypatch.setattr(reproduce, "reproduce", lambda run: begun.append(run))
    return begun


@pytest.mark.parametrize(
    ("entry", "text", "flag"),
    [
        ("test", "--no_flip --result ../elsewhere.mat", "result"),
        ("test", "--res=../elsewhere.mat", "result"),
        ("test", "--na other", "name"),
        ("test", "--from other", "from"),
        ("test", "--data_dir other", "test_dir"),
        ("test", "--js ../elsewhere.json", "json"),
        ("test", "--gpu 3", "gpu_ids"),
        ("test", "--engine other.onnx", "engine"),
        ("test", "--backbone osnet_x0_25 --weights other.pth", "backbone"),
        ("rerank", "--k1 5 --save_per_query ../elsewhere.csv", "save_per_query"),
        ("rerank", "--resu other.mat", "result"),
        ("rerank", "--multi other.mat", "multi_query"),
        ("rerank", "--ap step", "ap"),
    ],
)
def test_a_recipe_neither_writes_elsewhere_nor_measures_another_network(entry, text, flag, tiny):
    write_recipe(tiny, **{RECIPE_KEY: {**ABOUT, entry: text}})
    with pytest.raises(
        UserError, match=rf"tiny\.yaml: recipe: {entry}: --{flag} is set by this program"
    ):
        read_recipe(tiny)


@pytest.mark.parametrize(
    "flag", [{"name": "other"}, {"seed": 5}, {"resume": True}, {"config": "x"}, {"dry_run": True}]
)
def test_the_training_flags_of_a_recipe_do_not_choose_its_run(flag, tiny):
    with pytest.raises(
        UserError, match=rf"tiny\.yaml: --{next(iter(flag))} is set by this program"
    ):
        plan(write_recipe(tiny, **flag), 0)


@pytest.mark.parametrize("entry", ["test", "rerank"])
def test_a_text_of_flags_that_no_shell_could_split_is_refused(entry, tiny, tmp_path):
    write_recipe(tiny, **{RECIPE_KEY: {**ABOUT, entry: "--k1 '5"}})
    assert f'recipe: {entry}: "--k1 \'5" does not fit, (No closing quotation)' in refused(
        "reproduce", tiny, "--results", "out.jsonl", cwd=tmp_path
    )


def without(record, *names):
    for name in names[:-1]:
        record = record[name]
    del record[names[-1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: without(record, "recipe"),
        lambda record: without(record, "figures", "single", "mAP", "step"),
        lambda record: record.update(seed="0"),
        lambda record: record.update(minutes=None),
        lambda record: record.update(figures={"single": 90}),
        lambda record: record["figures"]["single"].update(rank1=float("nan")),
        lambda record: record["figures"]["single"].update(mAP="80"),
    ],
)
def test_a_damaged_record_is_found(change, tiny):
    record = json.loads(json.dumps(a_record(plan(tiny, 0))))
    append_record("out.jsonl", record)
    change(record)
    append_record("out.jsonl", record)
    with pytest.raises(UserError, match=r"out\.jsonl: record 2: expected recipe, flags"):
        read_results(Path("out.jsonl"))


def test_records_are_read_before_anything_is_trained(tiny, tmp_path, never):
    append_record("out.jsonl", {"seed": 0})
    said = refused("reproduce", tiny, "--seeds", "4,", "--results", "out.jsonl", cwd=tmp_path)
    assert "out.jsonl: record 1: expected recipe, flags" in said
    assert never == []


def test_results_that_cannot_be_written_are_named_before_anything_is_trained(tiny, tmp_path, never):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "absent" / "out.jsonl")
    (tmp_path / "page.md").write_text("a page of somebody else")
    for name, expected in {
        "folder.jsonl": "folder.jsonl",
        "file/out.jsonl": "file",
        "link.jsonl": "link.jsonl",
        "page.jsonl": "page.md: no lines",
        "page.md": "page.md: expected a name that ends in .jsonl",
        "..": "expected a name that ends in .jsonl",
    }.items():
        assert expected in refused("reproduce", tiny, "--results", name, cwd=tmp_path)
    assert (tmp_path / "page.md").read_text() == "a page of somebody else"
    assert never == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_results_that_are_a_pipe_are_not_waited_for(tiny, tmp_path, never):
    os.mkfifo(tmp_path / "out.jsonl")
    said = refused("reproduce", tiny, "--results", "out.jsonl", cwd=tmp_path)
    assert "out.jsonl: a pipe" in said
    assert never == []


def test_a_recipe_in_a_hidden_folder_has_a_run_that_is_not(tiny, tmp_path):
    assert plan(write_recipe(tmp_path / ".own" / "tiny.yaml"), 0).config.name == "own_tiny_seed0"


def test_a_line_without_an_end_stays_a_line_of_its_own(tmp_path):
    (tmp_path / "out.jsonl").write_text('{"seed": 1}')
    append_record(tmp_path / "out.jsonl", {"name": "a\u2028b\udc80"})
    assert read_records(tmp_path / "out.jsonl") == [{"seed": 1}, {"name": "a\u2028b\udc80"}]


def test_texts_of_recipes_and_records_stay_in_their_cells(tiny):
    text = f"a\n\n| b | <script>alert(1)</script> {RESULTS_END} \x1b[31m"
    write_recipe(tiny, **{RECIPE_KEY: {**ABOUT, "title": text, "source": text}})
    record = a_record(plan(tiny, 0), device=text, date=text, versions={"torch": text})
    record["changes"] = {"weights": text}
    rows, listed = results_table([read_recipe(tiny)], [record]), recipe_tables([read_recipe(tiny)])
    for page in (rows, listed):
        assert "<" not in page
        assert "\x1b" not in page
    assert listed.startswith("### a &#124; b &#124; &lt;script&gt;alert(1)&lt;/script&gt;")
    bars = [
        [line.count("|") for line in page.splitlines() if "|" in line] for page in (rows, listed)
    ]
    assert bars == [[11] * 3, [4] * 3]  # a head, a rule and a row
    record["flags"] = {"total_epoch": text}
    with pytest.raises(UserError, match="no such figure"):
        fill("<!-- = own/tiny epochs -->3<!-- / -->", [record])


def test_control_characters_do_not_reach_the_terminal(tiny, tmp_path, monkeypatch, capsys):
    path = write_recipe(tiny.with_name("\x1b[31m.yaml"))
    monkeypatch.setattr(reproduce, "reproduce", a_record)
    reproduce.main([str(path), "--results", "out.jsonl"])
    reproduce.main([str(path), "--results", "out.jsonl"])
    printed = capsys.readouterr().out
    assert "in out.jsonl already" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize("seeds", ["1" + "0" * 9, "-1,2", "1" * 30])
def test_a_number_of_seeds_out_of_range_is_refused(seeds, tiny, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        reproduce.main([str(tiny), f"--seeds={seeds}", "--results", "out.jsonl"])
    assert not (tmp_path / "out.jsonl").exists()
