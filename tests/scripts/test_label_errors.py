"""tools/label_errors.py as a user calls it, and the way from its list to a training."""

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.data.own.corrections import CORRECTION_COLUMNS
from person_reid.errors import UserError
from person_reid.run_folder import RunFolder
from tests.support.flags import ON_THE_PROCESSOR
from tests.support.scripts import run
from tools import explore, label_errors

NETWORK = [*ON_THE_PROCESSOR, "--shown", "2"]


def draw(folder, wrong=True):
    """A layout of ten people in clothes of their own; 0003_c1_wrong.jpg is a picture of 0007."""
    rng = np.random.default_rng(0)
    clothes = rng.integers(0, 255, (11, 8, 1, 3))
    for person in range(1, 11):
        place = folder / "train_all" / f"{person:04d}"
        place.mkdir(parents=True)
        names = [f"{person:04d}_c{1 + i % 2}_{i}.png" for i in range(6)]
        for name in [*names, "0003_c1_wrong.png"] if person == 3 and wrong else names:
            who = 7 if "wrong" in name else person
            pixels = np.repeat(np.repeat(clothes[who], 8, axis=0), 32, axis=1) + rng.integers(
                -20, 20, (64, 32, 3)
            )
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / name)
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("people"))


def test_the_wrong_one_is_listed_drawn_corrected_and_trained_on(people, tmp_path, capsys):
    save = tmp_path / "list.csv"
    label_errors.main(
        ["--data_dir", str(people), *NETWORK, "--save", str(save), "--accept_above", "0.3"]
    )
    with save.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["path"] == "train_all/0003/0003_c1_wrong.png"
    assert len(rows) < 3
    found = {name: rows[0][name] for name in ("identity", "proposal", "new_identity", "accept")}
    assert found == {"identity": "3", "proposal": "move", "new_identity": "7", "accept": "yes"}
    assert 0.3 <= float(rows[0]["probability"]) <= 1
    assert "0003_c1_wrong.png: move 3 → 7?" in capsys.readouterr().out
    assert Image.open(tmp_path / "list.png").size[0] > 600
    explore.main(["--label_errors", str(save), "--save", str(tmp_path / "look.html")])
    assert "0003_c1_wrong.png" in (tmp_path / "look.html").read_text(encoding="utf-8")
    out = tmp_path / "mended"
    prepare.main(["--data_dir", str(people), "--corrections", str(save), "--save_dir", str(out)])
    assert (out / "train_all" / "0007" / "0007_c1_0003_c1_wrong.png").is_file()
    words = ["--name", "mended", "--data_dir", out, "--total_epoch", 1, "--batchsize", 8]
    run("train", *words, *ON_THE_PROCESSOR, cwd=tmp_path)
    assert (tmp_path / "model" / "mended").is_dir()


def test_a_run_that_learned_these_labels_is_rejected(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder("learned").save_options({"data_dir": str(people), "backbone": "osnet_x0_25"})
    with pytest.raises(UserError, match=r"trained on .*memorised the labels"):
        label_errors.main(["--data_dir", str(people), "--name", "learned"])


def test_what_is_not_accepted_stays_open(people, tmp_path):
    save = tmp_path / "list.csv"
    label_errors.main(["--data_dir", str(people), *NETWORK, "--save", str(save)])
    first, second, *_ = save.read_text(encoding="utf-8").splitlines()
    assert second.endswith(",")
    decided = f"{first}\n{second}no\n"
    save.write_text(decided, encoding="utf-8")
    for _ in range(2):  # the second list holds no decision
        label_errors.main(["--data_dir", str(people), *NETWORK, "--save", str(save)])
        assert (tmp_path / "list.previous.csv").read_text(encoding="utf-8") == decided
        assert len([*tmp_path.glob("list.previous*")]) == 1
    with pytest.raises(UserError, match="no correction is accepted"):
        prepare.main(
            [
                "--data_dir",
                str(people),
                "--corrections",
                str(save),
                "--save_dir",
                str(tmp_path / "out"),
            ]
        )


def test_a_list_with_decisions_is_kept_in_every_writing_and_never_replaced_unread(
    people, tmp_path, capsys
):
    save = tmp_path / "list.csv"
    words = ["--data_dir", str(people), *NETWORK, "--save", str(save)]
    first, line = ",".join(CORRECTION_COLUMNS), "train_all/0003/0003_c1_wrong.png,3,move,7,0.9,"
    decided = f"{first}\n{line}yes\n".replace(",", ";").encode("utf-16")
    save.write_bytes(decided)
    label_errors.main(words)
    assert (tmp_path / "list.previous.csv").read_bytes() == decided
    assert "list.previous.csv: the earlier list" in capsys.readouterr().out
    for content in (
        f"{first}\n{line}größtenteils\n".encode("latin-1"),
        b"a,b\n1,2\n",
        b"\x89PNG\0",
    ):
        save.write_bytes(content)
        with pytest.raises(
            UserError, match="cannot be read as a list of label errors, and is not replaced"
        ):
            label_errors.main(["--data_dir", str(people), "--weights", "none", "--save", str(save)])
        assert save.read_bytes() == content
    save.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(save)
        with pytest.raises(UserError, match="is not replaced.* a pipe; expected"):
            label_errors.main(["--data_dir", str(people), "--weights", "none", "--save", str(save)])
        save.unlink()
    for content in (b"", f"{first}\n".encode()):  # nothing is lost
        save.write_bytes(content)
        label_errors.main(words)
        assert b"wrong.png" in save.read_bytes()


@pytest.mark.parametrize("beside", ["list.mat", "list.png"])
def test_a_file_of_something_else_beside_the_list_is_not_replaced(beside, people, tmp_path):
    (tmp_path / beside).write_text("precious")
    with pytest.raises(UserError, match=rf"{beside}, which goes along with it, is there already"):
        label_errors.main(
            [*NETWORK, "--data_dir", str(people), "--save", str(tmp_path / "list.csv")]
        )
    assert (tmp_path / beside).read_text() == "precious"


def test_junk_moves_no_feature_to_another_image(tmp_path):
    people, save = draw(tmp_path / "people") / "train_all", tmp_path / "list.csv"
    (people / "-1").mkdir()
    for number, path in enumerate(sorted((people / "0005").iterdir())):
        shutil.copy(path, people / "-1" / f"-1_c1_{number}.png")
    label_errors.main(["--data_dir", str(people.parent), *NETWORK, "--save", str(save)])
    lines = save.read_text(encoding="utf-8").splitlines()[1:]
    assert lines[0].startswith("train_all/0003/0003_c1_wrong.png,3,move,7,")
    assert len(lines) < 3


def test_nothing_wrong_is_an_empty_list_also_if_folders_have_names(tmp_path, capsys):
    folder, save = draw(tmp_path / "right", wrong=False), tmp_path / "list.csv"
    for person in [*(folder / "train_all").iterdir()]:
        person.rename(person.with_name(f"person {person.name}"))
    label_errors.main(["--data_dir", str(folder), *NETWORK, "--save", str(save)])
    assert len(save.read_text(encoding="utf-8").splitlines()) == 1
    assert "0 of 60 labels look wrong" in capsys.readouterr().out
    assert not save.with_suffix(".png").exists()


def test_a_network_that_cannot_tell_these_people_apart_lists_nobody(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "noise"
    save = tmp_path / "list.csv"
    for person in range(1, 11):
        (folder / "train_all" / f"{person:04d}").mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (64, 32, 3), np.uint8)
            Image.fromarray(pixels).save(
                folder / "train_all" / f"{person:04d}" / f"{person:04d}_c{1 + i % 2}_{i}.png"
            )
    with pytest.raises(UserError, match="cannot tell these people apart"):
        label_errors.main(["--data_dir", str(folder), *NETWORK, "--save", str(save)])
    assert not save.exists()


def test_a_folder_without_people_is_refused(tmp_path):
    (tmp_path / "train_all" / "0000").mkdir(parents=True)
    Image.new("RGB", (4, 8)).save(tmp_path / "train_all" / "0000" / "0000_c1.jpg")
    with pytest.raises(UserError, match="0 identit"):
        label_errors.main(
            ["--data_dir", str(tmp_path), *NETWORK, "--save", str(tmp_path / "list.csv")]
        )
    assert not (tmp_path / "list.csv").exists()
