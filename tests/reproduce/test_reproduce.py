"""tools/reproduce.py: a whole small run that is interrupted, and the parts of it one by one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch
import yaml

import prepare
from person_reid.errors import UserError
from person_reid.run_folder import RunFolder
from person_reid.training.writers import recorded_options
from tests.support.scripts import run
from tools import reproduce
from tools.docs.results import (
    RESULTS_BEGIN,
    RESULTS_END,
    append_record,
    comparison,
    published,
    read_records,
    recipe_rows,
    recipe_tables,
    results_table,
    update_page,
)
from tools.recipe_file import RECIPE_KEY
from tools.recipes import known_recipes, listed_seeds, plan, read_recipe
from tools.reproduce import ROOT, call

ABOUT: dict[str, Any] = {
    "title": "a tiny network", "source": "a test", "dataset": "synthetic",
    "average_precision": "step",
    "published": {"single": {"rank1": 91.2, "mAP": 75.0}, "re-ranked": {}}, "test": "--no_flip",
    "rerank": "--k1 5 --k2 2",
}  # fmt: skip
TINY: dict[str, Any] = {
    "backbone": "test_resnet", "weights": "none", "height": 64, "width": 32, "batchsize": 8,
    "total_epoch": 3, "train_all": True, "gpu_ids": "-1", "data_dir": "people/pytorch",
    RECIPE_KEY: ABOUT,
}  # fmt: skip


@pytest.fixture
def tiny(here):
    """The path of a recipe, in an empty working directory."""
    return write_recipe(here / "own" / "tiny.yaml")


def write_recipe(path, **changes):
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def a_record(run, rank1=50.0, step=40.0, **changes):
    figures = {
        "rank1": rank1,
        "rank5": 60.0,
        "rank10": 70.0,
        "mINP": 10.0,
        "mAP": {"trapezoidal": 33.3, "step": step},
    }
    versions = {"torch": "2.6.0", "python": "3.10.1"}
    return {
        **run.identity, "figures": {"single": figures, "re-ranked": figures}, "minutes": 12.34,
        "device": "an abacus", "versions": versions, "date": "2026-01-02", **changes,
    }  # fmt: skip


def call_here(script, *words, show=False, hide="\n"):
    """What `call` does, in this process."""
    text = run(script.removesuffix(".py"), *words, cwd=".")
    shown = [line for line in text.splitlines() if show and not line.startswith(hide)]
    print("\n".join(shown))
    return text


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_a_finished_one_is_not_repeated(
    tiny, tmp_path, capsys, monkeypatch
):
    drawing = ["--identities", "6", "--test_identities", "4", "--cameras", "2", "--images", "2"]
    prepare.main(
        ["--synthetic", *drawing, "--distractors", "2", "--junk", "2", "--data_dir", "people"]
    )
    words = [str(tiny), "--seeds", "2", "--results", "out.jsonl"]
    command = [sys.executable, str(ROOT / "tools" / "reproduce.py"), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        printed = list(iter_until(process.stdout, "epoch 1/3"))
        process.terminate()
        printed += process.stdout.readlines()
    assert process.returncode == 128 + signal.SIGTERM or os.name == "nt", printed
    log = tmp_path / "model" / "own_tiny_seed0" / "log.jsonl"
    finished = log.read_text().splitlines()
    assert 1 <= len(finished) < 3
    assert read_records("out.jsonl") == []

    # The process above has shown that the scripts start.
    monkeypatch.setattr(reproduce, "call", call_here)
    reproduce.main(words)
    output = capsys.readouterr().out
    assert "model/own_tiny_seed0: continuing after epoch" in output.replace("\\", "/")
    assert log.read_text().splitlines()[: len(finished)] == finished
    assert "Features are in" not in output
    assert not list(tmp_path.rglob("result.mat"))
    first, second = read_records("out.jsonl")
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["recipe"] == "own/tiny"
    for record in (first, second):
        assert record["figures"].keys() == {"single", "re-ranked"}
        for figures in record["figures"].values():
            assert 0 < figures["mAP"]["trapezoidal"] <= figures["mAP"]["step"] <= 100
        assert record["minutes"] >= 0
        assert "thread" in record["device"]
        assert record["versions"]["torch"]
    assert (
        "single: Rank@1 published 91.20, measured "
        f"{first['figures']['single']['rank1']:.2f}; mAP (step)" in output
    )
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "| own/tiny: a tiny network | step | 91.20 / 75.00 |" in page
    assert " ± " in page

    reproduce.main(words)
    output = capsys.readouterr().out
    assert output.count("in out.jsonl already") == 2
    assert "epoch" not in output
    assert len(read_records("out.jsonl")) == 2


def test_the_folder_above_a_layout_is_named(tiny, tmp_path, capsys):
    (tmp_path / "people" / "pytorch" / "train_all").mkdir(parents=True)
    with pytest.raises(UserError, match="1 of 1 runs failed"):
        reproduce.main(
            [str(tiny), "--seeds", "1", "--results", "out.jsonl", "--data_dir", "people"]
        )
    assert (
        "data_dir=people: not a layout, but people/pytorch is one"
        in capsys.readouterr().err.replace("\\", "/")
    )


def iter_until(lines, beginning):
    for line in lines:
        yield line
        if line.startswith(beginning):
            return


def test_the_page_is_in_step_with_the_recipes_and_the_records(tmp_path):
    page = ROOT / "docs" / "results.md"
    copy = tmp_path / "results.md"
    shutil.copy(page, copy)
    update_page(copy, known_recipes([]), read_records(reproduce.RESULTS))
    again = (
        "docs/results.md is behind the recipes or docs/results.jsonl: "
        "python tools/reproduce.py --table"
    )
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), again


def test_sigterm_ends_it_like_an_error_so_that_its_training_ends(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        reproduce.main(["--table", "--results", str(tmp_path / "out.jsonl")])
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM


def test_flags_of_a_training_are_refused_beside_the_table(tmp_path):
    results = str(tmp_path / "out.jsonl")
    for words, named in ((["--seeds", "3"], "--seeds"), (["--bf16"], "--bf16")):
        with pytest.raises(UserError, match=f"^{named} would be ignored beside table"):
            reproduce.main(["--table", "--results", results, *words])
    assert not list(tmp_path.iterdir())


def test_a_page_elsewhere_has_no_links_that_lead_from_docs_alone(tmp_path, monkeypatch):
    shutil.copy(reproduce.RESULTS, tmp_path / "out.jsonl")
    reproduce.main(["--table", "--results", str(tmp_path / "out.jsonl")])
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "| market/osnet_x0_25_laptop: " in page
    assert "](" not in page
    written = []
    monkeypatch.setattr(reproduce, "update_page", lambda *words: written.append(words))
    reproduce.write_page(reproduce.RESULTS, [])
    assert written[0][-1] is True  # in docs, the names are links


def test_only_what_was_run_has_a_row(tiny):
    assert recipe_rows(read_recipe(tiny), []) == []
    assert results_table([read_recipe(tiny)], []) == "None yet.\n"


def test_the_recipes_are_listed_by_the_source_of_their_figures(tiny):
    text = recipe_tables(known_recipes([]))
    row = "| [market/resnet50](market/resnet50.yaml): ResNet-50 | 88.84 / 71.59, multi 91.95 / "
    assert row in text
    assert "| 91.70" not in text  # of whom only the mAP was published
    assert "| mAP 91.70 |" in text
    assert "osnet_x0_25_laptop" not in text  # nothing was published
    assert published(read_recipe(tiny)) == "91.20 / 75.00"
    assert "| own/tiny: a tiny network |" in recipe_tables([read_recipe(tiny)])


def test_a_row_holds_the_mean_of_its_seeds_and_the_ap_of_its_definition(tiny):
    second = a_record(plan(tiny, 1), rank1=51.0, step=43.0) | {"device": "a slide rule"}
    records = [a_record(plan(tiny, 0)), second]
    (row,) = recipe_rows(read_recipe(tiny), records)
    figures = "50.50 ± 0.71 / 41.50 ± 2.12"  # of a sample: √½, √4½
    about = ["2", "12, 12", "an abacus; a slide rule, 2026-01-02", "none"]
    assert row[1:-1] == ["step", "91.20 / 75.00", figures, "", figures, *about]
    write_recipe(tiny, **{RECIPE_KEY: {**ABOUT, "average_precision": "trapezoidal"}})
    assert recipe_rows(read_recipe(tiny), records)[0][3] == "50.50 ± 0.71 / 33.30 ± 0.00"
    assert recipe_rows(read_recipe(tiny), records[:1])[0][3] == "50.00 / 33.30"


def test_a_line_names_the_definition_of_both_figures(tiny):
    figures = a_record(plan(tiny, 0))["figures"]
    single, reranked = comparison(read_recipe(tiny), 3, figures, {"bf16": True, "lr": 0.1})
    assert single == (
        "own/tiny with `--bf16 --lr 0.1` seed 3, single: Rank@1 published 91.20, measured 50.00; "
        "mAP (step) published 75.00, measured 40.00; mINP measured 10.00"
    )
    assert "published" not in reranked


def test_runs_with_changed_flags_have_rows_of_their_own(tiny):
    changed = plan(
        tiny, 0, ["--bf16", "--weights", "/home/me/osnet.pth", "--gpu_ids", "0", "--batch", "8"]
    )
    assert changed.changes == {"bf16": True, "weights": "osnet.pth"}
    assert changed.config.name == "own_tiny_seed0_weights-osnet.pth_bf16-True"
    assert not changed.done([a_record(plan(tiny, 0))])
    assert changed.done([a_record(changed)])
    (row,) = recipe_rows(read_recipe(tiny), [a_record(changed)])
    assert row[-2:] == [
        "osnet.pth",
        "`python tools/reproduce.py recipes/own/tiny.yaml --weights osnet.pth --bf16`",
    ]
    rows = recipe_rows(read_recipe(tiny), [a_record(changed), a_record(plan(tiny, 0))])
    assert ["--bf16" in row[-1] for row in rows] == [True, False]


def test_where_a_file_of_the_recipe_lies_is_no_change(tiny):
    write_recipe(tiny, weights="osnet.pth")
    assert plan(tiny, 0, ["--weights", "/home/me/osnet.pth"]).changes == {}
    assert plan(tiny, 0, ["--weights", "/home/me/other.pth"]).changes == {"weights": "other.pth"}


def test_a_record_of_the_recipe_as_it_was_counts_no_longer(tiny):
    record = json.loads(json.dumps(a_record(plan(tiny, 0))))
    assert plan(tiny, 0).done([record])
    assert not plan(tiny, 1).done([record])
    write_recipe(tiny, lr=0.3)
    assert not plan(tiny, 0).done([record])
    assert results_table([read_recipe(tiny)], [record]) == "None yet.\n"


def test_a_table_omits_empty_columns(tiny):
    recipe = read_recipe(tiny)
    head, _, row = results_table([recipe], [a_record(plan(tiny, 0))]).splitlines()
    assert head.startswith("| recipe | AP | published | single query | re-ranked | seeds |")
    assert row.startswith("| own/tiny: a tiny network | step | 91.20 / 75.00 | 50.00 / 40.00 | ")


def test_a_record_without_a_ranking_that_the_recipe_asks_for_is_not_done(tiny):
    record = a_record(plan(tiny, 0))
    del record["figures"]["re-ranked"]
    assert not plan(tiny, 0).done([record])


def test_what_a_person_wrote_on_the_page_stays(tiny, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{RESULTS_BEGIN}\nold\n{RESULTS_END}\nafter\n")
    update_page(page, [read_recipe(tiny)], [])
    text = page.read_text()
    assert text.startswith(f"before\n{RESULTS_BEGIN}\n")
    assert text.endswith(f"{RESULTS_END}\nafter\n")
    assert "old" not in text
    page.write_text("something else")
    with pytest.raises(UserError, match=r"page\.md: no lines"):
        update_page(page, [], [])


@pytest.mark.parametrize(
    ("text", "expected"), [("1", [0]), ("3", [0, 1, 2]), ("4,7", [4, 7]), ("0,", [0])]
)
def test_seeds_are_counted_or_listed(text, expected):
    assert listed_seeds(text) == expected


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--seeds", "-1"], ["--seeds", "few"], []])
def test_arguments_that_say_nothing_are_refused(words, tiny):
    with pytest.raises(SystemExit):
        reproduce.main([str(tiny), *words] if words else [])


@pytest.mark.parametrize("flag", ["--seed", "--name", "--resume"])
def test_flags_that_are_not_the_users_are_refused(flag, tiny):
    with pytest.raises(UserError, match=f"{flag} is set by this program"):
        plan(tiny, 0, [flag] if flag == "--resume" else [flag, "5"])


def test_a_run_that_fails_does_not_cost_the_others(tiny, tmp_path, monkeypatch, capsys):
    other = write_recipe(tmp_path / "own" / "other.yaml")

    def fail_once(run):
        if run.recipe.name == "own/tiny":
            raise UserError("no data")
        return a_record(run)

    monkeypatch.setattr(reproduce, "reproduce", fail_once)
    with pytest.raises(UserError, match="1 of 2 runs failed:\nown/tiny seed 0: no data"):
        reproduce.main([str(tiny), str(other), "--results", "out.jsonl"])
    assert [record["recipe"] for record in read_records("out.jsonl")] == ["own/other"]
    assert "own/other" in (tmp_path / "out.md").read_text()


@pytest.fixture
def called(monkeypatch):
    """Whether each of the trainings that would have run was to go on."""
    trainings: list[bool] = []
    monkeypatch.setattr(
        reproduce, "call", lambda script, *words, show: trainings.append("--resume" in words)
    )
    return trainings


def test_what_is_trained_is_decided_by_what_lies_there(tiny, tmp_path, called):
    run = plan(tiny, 0)
    folder = tmp_path / "model" / run.config.name
    reproduce.train(run)
    RunFolder(run.config.name).save_options(recorded_options(run.config))
    reproduce.train(run)  # killed before the end of the first epoch
    (folder / "resume.pth").touch()
    (folder / "log.jsonl").write_text('{"epoch": 1, "loss": 1.0, "error": 0.5}\n')
    reproduce.train(run)
    write_recipe(tiny, lr=0.3)
    reproduce.train(plan(tiny, 0))  # another training has that name
    assert called == [False, False, True, False]
    (folder / "log.jsonl").write_text('{"epoch": 1, "loss": 1.0, "error": 0.5}\n' * 3)
    (folder / "net_last.pth").touch()
    reproduce.train(run)  # finished
    assert len(called) == 4


def test_an_averaged_training_is_finished_once_its_average_has_statistics(tiny, called):
    run = plan(write_recipe(tiny, wa=True), 0)
    folder = RunFolder(run.config.name)
    folder.save_options(recorded_options(run.config))
    folder.save_log([{"epoch": epoch, "loss": 1.0, "error": 0.5} for epoch in (1, 2, 3)])
    for name in ("resume.pth", "net_last.pth", "net_average_bn.pth"):
        (folder.path / name).touch()
        reproduce.train(run)
    assert called == [True, True]


def test_a_training_on_several_devices_is_known_by_its_whole_batch(tiny, tmp_path, called):
    run = plan(tiny, 0, ["--gpu_ids", "0,1"])
    folder = tmp_path / "model" / run.config.name
    RunFolder(run.config.name).save_options(
        {**recorded_options(run.config), "batchsize": run.config.batchsize // 2}
    )
    (folder / "resume.pth").touch()
    reproduce.train(plan(tiny, 0, ["--gpu_ids", "0,1"]))
    reproduce.train(plan(tiny, 0))
    assert called == [True, False]


def test_a_run_is_trained_and_each_ranking_of_the_recipe_is_measured(tiny, tmp_path, monkeypatch):
    rankings = {"evaluate.py": "single", "evaluate_rerank.py": "re-ranked"}
    called = {}

    def answer(script, *words, **_):
        called[script] = words
        if script in rankings:
            words[-1].write_text(json.dumps({rankings[script]: {"rank1": 0.5, "mAP": 0.25}}))

    monkeypatch.setattr(reproduce, "call", answer)
    run = plan(tiny, 0)
    RunFolder(run.config.name).path.mkdir(parents=True)
    (tmp_path / "people" / "pytorch" / "train_all").mkdir(parents=True)
    expected = {"rank1": 50, "mAP": {"trapezoidal": 25, "step": 25}}
    assert reproduce.reproduce(run)["figures"] == {"single": expected, "re-ranked": expected}
    assert [*called] == ["train.py", "test.py", *rankings]
    assert called["test.py"][-1] == "--no_flip"
    assert called["evaluate_rerank.py"][4:8] == ("--k1", "5", "--k2", "2")


def test_a_missing_layout_is_prepared_and_another_data_set_refused(tiny, tmp_path, monkeypatch):
    market = {**TINY, "data_dir": "laid_out"}
    market[RECIPE_KEY] = {**ABOUT, "dataset": "market"}
    run = plan(write_recipe(tiny, **market), 0)
    called = []

    def lay_out(*words, show):
        called.append(words)
        for split in ("train_all", "query", "gallery"):
            folder = tmp_path / "laid_out" / split / "0001"
            folder.mkdir(parents=True)
            (folder / "0001_c1s1_000001_00.jpg").touch()

    monkeypatch.setattr(reproduce, "call", lay_out)
    message = "1 images in train_all; Market-1501, which own/tiny is for, has 12,936"
    with pytest.raises(UserError, match=message):
        reproduce.prepare(run)
    assert called[0][:3] == ("prepare.py", "--dataset", "market")
    assert "--save_dir" in called[0]
    with pytest.raises(UserError, match=message):
        reproduce.prepare(run)
    assert len(called) == 1


def test_a_script_that_fails_says_what_it_said(tmp_path):
    with pytest.raises(
        UserError, match=r"python evaluate\.py --result .*absent\.mat: .*no features there"
    ):
        call("evaluate.py", "--result", tmp_path / "absent.mat")


def test_a_broken_line_of_a_results_file_is_named(tmp_path):
    append_record(tmp_path / "out.jsonl", {"seed": 1})
    assert read_records(tmp_path / "out.jsonl") == [{"seed": 1}]
    assert read_records(tmp_path / "absent.jsonl") == []
    (tmp_path / "out.jsonl").write_text('{"seed": 1}\n{"see')
    with pytest.raises(UserError, match=r"out\.jsonl: line 2: expected a JSON object"):
        read_records(tmp_path / "out.jsonl")


def test_a_record_says_that_float32_took_the_place_of_a_type_that_the_processor_lacks(monkeypatch):
    usual = reproduce.describe_device("-1")
    monkeypatch.setattr(reproduce, "emulates", lambda device, dtype: True)
    assert reproduce.describe_device("-1", torch.bfloat16) == f"{usual}, in float32"
    assert reproduce.describe_device("-1", None) == usual
    monkeypatch.setattr(reproduce, "emulates", lambda device, dtype: False)
    assert reproduce.describe_device("-1", torch.bfloat16) == usual
