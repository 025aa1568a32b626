import errno
import re

import pytest
import torch
import yaml

from person_reid.errors import UserError
from person_reid.run_folder import RunFolder, check_run_name, read_yaml


@pytest.fixture
def run(here):
    run = RunFolder("person")
    for label in (10, 60, "last", "average"):
        run.save_weights(label, {"weight": torch.zeros(1)})
    return run


def test_checkpoints_are_found_under_every_published_number(run):
    files = {
        "last": "net_last.pth",
        "average": "net_average.pth",
        "10": "net_010.pth",
        "010": "net_010.pth",
    }
    files |= {"9": "net_010.pth", "59": "net_060.pth", "059": "net_060.pth", "60": "net_060.pth"}
    assert {which: run.weights_file(which).name for which in files} == files


def test_a_number_means_its_own_checkpoint_before_the_next(run):
    run.save_weights(59, {"weight": torch.ones(1)})
    assert run.weights_file("59").name == "net_059.pth"


def test_a_result_may_name_a_folder_that_is_not_utf8(run):
    run.add_results([f"last d\udce4t: {rank}" for rank in (1, 2)])
    assert (run.path / "result.txt").read_bytes() == b"last d\xe4t: 1\nlast d\xe4t: 2\n"


def test_figures_of_a_run_that_cannot_be_written_to_are_not_lost(run, caplog):
    (run.path / "result.txt").mkdir()
    run.add_results(["last: 1"])
    # Each system has its own words for the reason.
    assert re.search(r"result\.txt: .+: the figures are not noted there\.", caplog.text)


def test_a_published_run_counts_from_zero(run):
    run.save_weights(69, {"weight": torch.ones(1)})
    assert {run.weights_file(which).name for which in ("69", "069", "70", 70)} == {"net_069.pth"}


@pytest.mark.parametrize(
    ("file", "which"), [(59, "59 60"), (59, "059 060"), (60, "59 60"), (9, "9 10 009")]
)
def test_a_published_run_without_zeros_in_its_names_is_found(file, which, here):
    """Early versions of the published code wrote net_59.pth."""
    run = RunFolder("published")
    run.path.mkdir(parents=True)
    (run.path / f"net_{file}.pth").touch()
    assert {run.weights_file(each).name for each in which.split()} == {f"net_{file}.pth"}


def test_only_the_number_before_a_multiple_of_ten_means_the_next(run):
    run.save_weights(21, {"weight": torch.ones(1)})
    with pytest.raises(FileNotFoundError):
        run.weights_file("20")


def test_a_missing_checkpoint_lists_those_there_are(run):
    with pytest.raises(
        FileNotFoundError,
        match=r"no checkpoint for --which_epoch 20. There are: .* 010, 060, average, last",
    ):
        run.weights_file("20")
    with pytest.raises(FileNotFoundError, match=r"Train first: python train.py --name nobody"):
        RunFolder("nobody").weights_file()


def test_the_latest_checkpoints_are_those_of_the_highest_epochs(run):
    for epoch in (990, 1000):
        run.save_weights(epoch, {})
    run.keep_latest(1)
    assert {path.stem for path in run.path.glob("net_*.pth")} == {
        "net_1000",
        "net_last",
        "net_average",
    }


def test_an_earlier_run_of_the_name_is_kept(run, capsys):
    run.set_aside()
    assert not run.path.exists()
    assert (run.path.parent / "person.previous" / "net_last.pth").exists()
    run.save_weights("last", {"weight": torch.ones(1)})
    run.set_aside()
    kept = torch.load(run.path.parent / "person.previous" / "net_last.pth", weights_only=True)
    assert kept["weight"].item() == 1
    assert "person.previous" in capsys.readouterr().out


def test_checkpoints_of_a_run_of_which_nothing_else_is_known_are_not_resumed(run):
    with pytest.raises(UserError, match="resume.pth: no such file, so the run cannot be resumed"):
        run.load_state(torch.device("cpu"))


def test_the_minutes_of_a_training_are_those_of_its_epochs(run):
    epoch = {"epoch": 1, "loss": 1.0, "error": 0.5}  # as before 0.2
    run.save_log([epoch, epoch | {"seconds": 90.0}, epoch | {"seconds": 60.0}])
    assert run.minutes() == 2.5


def test_a_folder_without_checkpoints_is_not_set_aside(here):
    run = RunFolder("person")
    run.save_log([{"epoch": 1}])
    run.set_aside()
    assert (run.path / "log.jsonl").read_text() == '{"epoch": 1}\n'


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")]
)
def test_a_full_disk_leaves_the_last_good_checkpoint(run, monkeypatch, failure):
    before = run.weights_file().read_bytes()

    def fill_the_disk(content, path):
        path.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError) as error:
        run.save_weights("last", {"weight": torch.ones(1)})
    assert error.value.filename == str(run.path / "net_last.pth")
    assert run.weights_file().read_bytes() == before
    assert not list(run.path.glob(".*"))


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "..",
        "",
        "a\\b",
        "a\nb",
        "a\tb",
        "a\x1b[31m",
        "a\udc80",
        "a.",
        "a ",
        " a",
        ".a",
        "-a",
        "a\u202e",
        "a:b",
        "a*",
    ],
)
def test_a_run_name_is_a_plain_name(name):
    with pytest.raises(UserError, match="expected a plain name"):
        check_run_name(name)
    check_run_name("a-b.c d_é")


@pytest.mark.parametrize("name", ["CON", "nul.txt", "Com1"])
def test_a_run_is_not_named_like_a_device_of_windows(name):
    with pytest.raises(UserError, match="is a reserved name"):
        check_run_name(name)
    check_run_name(f"my_{name}")


@pytest.mark.parametrize("name", ["a:b", "aux"])
def test_a_run_that_is_there_keeps_its_name(name, here):
    with pytest.raises(UserError):
        check_run_name(name)
    try:
        RunFolder(name).path.mkdir(parents=True)
    except OSError:
        pytest.skip("no such names here")
    check_run_name(name)


def test_a_run_name_is_short_enough_for_what_is_added_to_it():
    check_run_name("é" * 100)
    with pytest.raises(UserError, match="expected at most 200 bytes, found 202"):
        check_run_name("é" * 101)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: " + b"[" * 5000, "not readable as YAML: maximum recursion depth"),
        (b"a: &x [1, 1]\nb: &y [*x, *x]\n", r"not readable as YAML: an alias \(\*name\)"),
        (b"lr: 2001-99-99", "not readable as YAML: month must be in 1..12"),
        (b"seed: 1" + b"0" * 5000, "not readable as YAML: Exceeds the limit"),
        (b"lr: !!int ''", "not readable as YAML: string index out of range"),
        (b"\xff\xfe", "not readable as YAML: 'utf-8' codec"),
        (b"lr: 1\n'lr': 2\n", "not readable as YAML: 'lr' is there twice; remove one of them"),
        (b"recipe: {title: a, title: b}", "not readable as YAML: 'title' is there twice"),
        (b"[a]: 1", "not readable as YAML: while constructing a mapping"),
        (b"", "expected options as 'name: value' lines, found nothing"),
    ],
)
def test_an_options_file_of_any_content_is_read_or_refused(content, message, tmp_path):
    (tmp_path / "opts.yaml").write_bytes(content)
    with pytest.raises(UserError, match=rf"opts\.yaml: {message}"):
        read_yaml(tmp_path / "opts.yaml")


AS_WRITTEN = [
    "0042",
    "no",
    "True",
    "1e5",
    "1.50",
    "12:30",
    "0x1F",
    "2024-1-1",
    "1_000",
    "=",
    "0089",
    ".5",
]


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_a_text_is_what_was_written_whatever_yaml_would_make_of_it(text, tmp_path):
    (tmp_path / "opts.yaml").write_text(f"name: {text}\nother: null\n")
    found = read_yaml(tmp_path / "opts.yaml", {"name", "other"})
    assert found == {"name": text, "other": None}
    assert type(found["name"]) is str
    # Every version writes its options so.
    (tmp_path / "opts.yaml").write_text(yaml.safe_dump({"name": text}))
    assert (
        read_yaml(tmp_path / "opts.yaml", {"name"})
        == read_yaml(tmp_path / "opts.yaml")
        == {"name": text}
    )


def test_a_number_is_what_a_person_reads(tmp_path):
    lines = [
        "height: 0100",
        "width: -0064",
        "seed: 1_000",
        "total_epoch: 1:30",
        "lr: 1.0e-4",
        "cosine: yes",
    ]
    (tmp_path / "opts.yaml").write_text("\n".join(lines))
    expected = [100, -64, 1000, "1:30", 1e-4, True]
    assert list(read_yaml(tmp_path / "opts.yaml").values()) == expected


def test_a_folder_is_no_options_file(tmp_path):
    with pytest.raises(UserError, match="a folder; expected a file of options"):
        read_yaml(tmp_path)


def test_a_link_to_a_checkpoint_that_is_gone_is_named(here):
    folder = here / "model" / "run"
    folder.mkdir(parents=True)
    (folder / "net_last.pth").symlink_to("/nowhere/net_last.pth")
    with pytest.raises(
        FileNotFoundError, match=r"net_last\.pth: a link to .*nowhere.*, which is not there"
    ):
        RunFolder("run").weights_file()
    (folder / "net_010.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"There are: --which_epoch 010\.$"):
        RunFolder("run").weights_file("20")


def test_a_file_in_place_of_the_folder_is_known_before_the_work(here):
    for place, what in (
        ("model", "a file"),
        ("model/run", "a file"),
        ("model/link", "a link to nothing"),
    ):
        file = here / place
        file.parent.mkdir(exist_ok=True)
        file.symlink_to("gone") if place == "model/link" else file.touch()
        with pytest.raises(NotADirectoryError, match=f"{what}; expected a folder"):
            RunFolder(file.name if "/" in place else "run").check_unused()
        file.unlink()
