"""tools/ablation.py: a table of settings, each trained with several seeds; training is replaced."""

import json
from itertools import pairwise
from pathlib import Path
from statistics import stdev

import pytest

from person_reid.errors import UserError
from tools import ablation

TABLE = """
train: --backbone osnet_x0_25 --lr 0.1
test: --no_flip
rows:
  plain:
  "circle, 0.1": --loss circle:0.1
"""
MEAN_AP = {("plain", 0): 0.40, ("plain", 1): 0.44, ("circle", 0): 0.5, ("circle", 1): 0.5}


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The command lines of train.py and test.py, whose results are made up."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text(TABLE)
    lines = []

    def call(script, *given):
        words = list(map(str, given))
        lines.append([script, *words])
        named = dict(pairwise(words))
        folder = tmp_path / "model" / named["--name"]
        folder.mkdir(parents=True, exist_ok=True)
        if script == "train.py":
            epoch = {"epoch": 1, "loss": 1.5, "error": 0.5, "images_per_second": 100.0}
            (folder / "log.jsonl").write_text(json.dumps(epoch) + "\n")
            return "osnet: 0.20 M parameters\n"
        _, row, *_, seed = named["--name"].split("_")
        single = {"rank1": 0.7, "mAP": MEAN_AP[row, int(seed)], "mINP": 0.2}
        for name, text in (("--result", ""), ("--json", json.dumps({"single": single}))):
            (tmp_path / named[name]).write_text(text)
        return "gallery: 10 images, 250.0 images/s\n"

    monkeypatch.setattr(ablation, "call", call)
    return lines


def test_every_row_is_trained_with_every_seed_once(called, capsys):
    words = ["settings.yaml", "--data_dir", "here"]
    ablation.main([*words, "--seeds", "0,1"])
    train, test = called[:2]
    assert train == [
        *["train.py", "--backbone", "osnet_x0_25", "--lr", "0.1", "--data_dir", "here"],
        *["--name", "settings_plain_0", "--seed", "0"],
    ]
    assert test[:5] == ["test.py", "--name", "settings_plain_0", "--test_dir", "here"]
    assert test[-1] == "--no_flip"
    assert sum("circle:0.1" in line for line in called) == 2
    assert len(called) == 8
    head, _, plain, circle = capsys.readouterr().out.splitlines()
    assert head.startswith("| row | seeds | Rank@1 | mAP | mINP |")
    deviation = stdev([40, 44])
    assert plain.startswith(f"| plain | 2 | 70.00 ± 0.00 | 42.00 ± {deviation:.2f} | 20.00 ±")
    assert circle.startswith("| circle, 0.1 | 2 | 70.00 ± 0.00 | 50.00 ± 0.00 |")
    assert Path("model/settings_plain_0/result.mat").exists()

    ablation.main([*words, "--rows", "plain"])  # all is done
    assert len(called) == 8
    assert capsys.readouterr().out.splitlines()[2:] == [plain]
    ablation.main([*words, "--latex"])
    assert (
        rf"plain & 2 & 70.00 $\pm$ 0.00 & 42.00 $\pm$ {deviation:.2f} &" in capsys.readouterr().out
    )


def test_what_counts_and_lists_no_seeds_is_refused_by_the_parser(called, capsys):
    with pytest.raises(SystemExit):
        ablation.main(["settings.yaml", "--seeds", "four"])
    assert "argument --seeds: invalid int value: 'four'" in capsys.readouterr().err
    assert not called


def test_a_plugin_goes_to_every_training_and_test(called, tmp_path):
    (tmp_path / "my_empty_part.py").touch()
    ablation.main(["settings.yaml", "--seeds", "1", "--plugin", "my_empty_part.py"])
    assert all(line[-2:] == ["--plugin", "my_empty_part.py"] for line in called[1::2])
    assert all("--plugin my_empty_part.py" in " ".join(line) for line in called)


def test_a_table_of_another_form_is_refused_before_anything_is_trained(called, tmp_path):
    for text, problem in (
        ("row:\n  a: --lr 1\n", "row: expected train, test, rows. Did you mean 'rows'"),
        ("train: --lr 1\n", "rows: expected lines"),
        ("rows: [a]\n", "rows: expected lines"),
    ):
        (tmp_path / "settings.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"settings\.yaml: {problem}"):
            ablation.main(["settings.yaml"])
    (tmp_path / "settings.yaml").write_text(TABLE)
    with pytest.raises(UserError, match=r"rows=other: settings\.yaml has plain, circle, 0\.1"):
        ablation.main(["settings.yaml", "--rows", "other"])
    assert not called
