"""prepare.py, the script: its flags, its defaults, what it prints."""

import http.server
import inspect
import json
import re
import threading
import zipfile
from dataclasses import replace
from functools import partial

import pytest

import prepare
from person_reid.config import prepare as config
from person_reid.console import parse
from person_reid.data.datasets import DATA_SETS
from person_reid.data.images.image_files import PREPARED_RECORD
from person_reid.data.layout import read_split
from person_reid.errors import UserError
from person_reid.synthetic.dataset import draw_data_set
from tests.data.test_prepare import state


def test_published_command_puts_the_layout_where_the_published_code_did(
    download, tmp_path, monkeypatch, capsys
):
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    source = download.rename(tmp_path / "Market-1501-v15.09.15")
    before = state(source)
    prepare.main([])
    assert (tmp_path / "Market" / "pytorch" / "train_all" / "0002").is_dir()
    assert state(source) == before
    assert "19 linked" in capsys.readouterr().out
    prepare.main([])
    assert "19 kept" in capsys.readouterr().out


def test_the_script_takes_a_folder_and_a_data_set(download, tmp_path, capsys):
    prepare.main(["--data_dir", str(download)])
    assert (download / "pytorch" / "query" / "0001").is_dir()
    prepare.main(
        ["--data_dir", str(download), "--save_dir", str(tmp_path / "out"), "--dataset", "duke"]
    )
    report = capsys.readouterr().out
    assert "DukeMTMC-reID" in report
    assert "702 / 16,522 / 8  DIFFERS" in report


@pytest.fixture
def server(tmp_path):
    """The address of a server of the files in the folder `served`."""
    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as answering:
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}"
        answering.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def test_a_data_set_is_downloaded_once_and_a_damaged_one_leaves_nothing(
    server, download, tmp_path, monkeypatch, capsys
):
    archive = tmp_path / "served" / "market.zip"
    with zipfile.ZipFile(archive, "w") as packed:  # stored, not compressed
        for path in sorted(download.rglob("*")):
            packed.write(path, path.relative_to(download.parent))
    market = replace(DATA_SETS["market"], archive=f"{server}/market.zip")
    monkeypatch.setitem(DATA_SETS, "market", market)
    words = ["--dataset", "market", "--download", "--data_dir", str(tmp_path / "data" / "Market")]
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"thumbs", b"thumbz", 1)):
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match="market.zip: not fetched .*unpack it as"):
            prepare.main(words)
        assert list((tmp_path / "data").iterdir()) == []

    archive.write_bytes(whole)
    prepare.main(words)
    assert f"Terms: {market.licence}" in capsys.readouterr().out
    assert (tmp_path / "data" / "Market" / "pytorch" / "query" / "0001").is_dir()
    archive.unlink()
    prepare.main(words)
    assert "19 kept" in capsys.readouterr().out


def test_flags_that_would_be_ignored_are_refused():
    with pytest.raises(UserError, match="^train_identities would be ignored.*synthetic"):
        prepare.main(["--identities", "3", "--seed", "1"])
    with pytest.raises(UserError, match="exclude each other"):
        prepare.main(["--synthetic", "--dataset", "market"])


@pytest.mark.parametrize(("flag", "value"), [("--csv", "mine.csv"), ("--test_fraction", "0.3")])
def test_flags_of_images_that_are_read_are_refused_before_people_are_drawn(flag, value, tmp_path):
    with pytest.raises(UserError, match=f"synthetic and {flag[2:]} exclude each other"):
        prepare.main(["--synthetic", "--data_dir", str(tmp_path / "people"), flag, value])
    assert not (tmp_path / "people").exists()


def test_synthetic_people_are_drawn_and_laid_out(tmp_path, capsys):
    command = [
        "--synthetic",
        "--data_dir",
        str(tmp_path),
        "--identities",
        "3",
        "--test_identities",
        "2",
    ]
    command += [
        "--cameras",
        "2",
        "--images",
        "2",
        "--distractors",
        "2",
        "--junk",
        "1",
        "--seed",
        "1",
    ]
    prepare.main(command)
    assert (
        read_split(tmp_path / "pytorch", "train_all").labels.tolist() == [1] * 4 + [2] * 4 + [3] * 4
    )
    assert "DIFFERS" not in capsys.readouterr().out
    prepare.main(command)
    assert "kept" in capsys.readouterr().out
    record = json.loads((tmp_path / "pytorch" / PREPARED_RECORD).read_text())
    assert record["source"] == ".."
    assert len(record["files"]) > 12


def test_people_walk_past_cameras(tmp_path, capsys, monkeypatch):
    asked = []

    def draw_walks(folder, **sizes):
        asked.append(sizes)
        return 1234

    monkeypatch.setattr("person_reid.draw_walks", draw_walks)
    command = ["--synthetic", "--walks", "--data_dir", str(tmp_path)]
    prepare.main([*command, "--identities", "5", "--cameras", "2", "--seed", "3"])
    prepare.main(command)
    assert asked == [{"identities": 5, "cameras": 2, "seed": 3}, {}]
    assert f"drew 1,234 frames in {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["--images 3", "--junk 0", "--save_dir here"])
def test_flags_of_pictures_are_refused_for_walks(words):
    with pytest.raises(UserError, match=f"^{words.split()[0][2:]} would be ignored: walks"):
        prepare.main(["--synthetic", "--walks", *words.split()])
    with pytest.raises(UserError, match="^walks would be ignored without synthetic"):
        prepare.main(["--walks"])


def test_a_seed_is_that_of_the_people_who_are_drawn():
    options = parse(config.PrepareConfig, ["--synthetic", "--seed", "7"])
    assert options.drawing == {"seed": 7}
    assert options.reading == {}


def test_help_names_every_data_set():
    assert [*DATA_SETS] == config.DATA_SET_NAMES


def test_help_tells_how_many_people_are_drawn(capsys):
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    told = dict(re.findall(r"--(\w+) N[^-]*?\(default:\s+(\d+)\)", capsys.readouterr().out))
    defaults = {
        name: argument.default
        for name, argument in inspect.signature(draw_data_set).parameters.items()
    }
    told["train_identities"] = told.pop("identities")
    assert len(told) == 6
    assert all(int(count) == defaults[name] for name, count in told.items())
