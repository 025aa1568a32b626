import errno
import io
import itertools
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from person_reid.console.script import (
    LATER,
    LESS_MEMORY,
    MORE_THREADS,
    print_remarks,
    run_script,
)
from person_reid.data.images.image_decoding import in_order
from person_reid.errors import UserError, first_line
from person_reid.files import (
    as_file_name,
    atomic_write,
    check_folder,
    check_target,
    harmless,
    importable,
    is_file_name,
    only_writer,
    plain_cell,
    set_aside,
    whole_folder,
    with_ending,
    write_csv,
    write_text,
)
from person_reid.text import counted, did_you_mean, in_markdown, printable
from tests.support import ROOT


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("second")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match="No space left on device") as error,
        atomic_write(tmp_path / "file.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "file.txt")


def test_what_a_killed_process_left_behind_is_removed_but_not_what_another_writes(tmp_path):
    names = (
        ".file.txt.0000000a.partial",
        ".file.txt.0000000b.partial",
        ".file.txt.gz.0000000c.partial",
    )
    abandoned, busy, another = (tmp_path / name for name in names)
    for partial in (abandoned, busy, another):
        partial.write_text("half of a longer text")
    for old in (abandoned, another):
        os.utime(old, (0, 0))
    with atomic_write(tmp_path / "file.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == [busy, another, tmp_path / "file.txt"]


def test_brackets_in_a_name_are_no_pattern(tmp_path):
    own, another = (tmp_path / f".{name}.txt.0000000a.partial" for name in ("a[1]", "a1"))
    for abandoned in (own, another):
        abandoned.touch()
        os.utime(abandoned, (0, 0))
    write_text(tmp_path / "a[1].txt", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([another, tmp_path / "a[1].txt"])


def test_a_file_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    found = []
    (tmp_path / "file.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", lambda _: found.append((tmp_path / "file.txt").read_text()))
    write_text(tmp_path / "file.txt", "new")
    assert found == ["old"]
    assert (tmp_path / "file.txt").read_text() == "new"


def test_a_file_keeps_the_bytes_of_names_that_are_not_utf8(tmp_path):
    write_text(tmp_path / "names.txt", "caf\udce9 é\n")
    assert (tmp_path / "names.txt").read_bytes() == b"caf\xe9 \xc3\xa9\n"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_folders_and_tables_keep_the_bytes_of_names_that_are_not_utf8(tmp_path):
    for content in ("old", "new"):
        with whole_folder(tmp_path / "look", ".mark") as folder:
            (folder / "caf\udce9.jpg").write_text(content)
    assert (tmp_path / "look" / "caf\udce9.jpg").read_text() == "new"
    write_csv(tmp_path / "a.csv", ["path"], [["caf\udce9.jpg"], ["é\n"]])
    assert (tmp_path / "a.csv").read_bytes() == b'path\r\ncaf\xe9.jpg\r\n"\xc3\xa9\n"\r\n'


def test_what_a_kill_left_of_the_mark_is_not_in_the_way(tmp_path):
    left = tmp_path / ".look.partial"
    left.mkdir()
    (left / "..mark.0a1b2c3d.partial").write_text("[")
    with whole_folder(tmp_path / "look", ".mark") as folder:
        (folder / "a.jpg").touch()
    assert (tmp_path / "look" / "a.jpg").is_file()
    assert not left.exists()
    (left / ".git").mkdir(parents=True)  # not ours
    with pytest.raises(UserError, match="was not written by this command"):
        check_folder(tmp_path / "look", ".mark")


def test_every_file_set_aside_has_a_name_of_its_own(tmp_path):
    kept = []
    for text in "abc":
        (tmp_path / "list.csv").write_text(text)
        kept.append(set_aside(tmp_path / "list.csv"))
    assert [path.name for path in kept] == [
        "list.previous.csv",
        "list.previous2.csv",
        "list.previous3.csv",
    ]
    assert [path.read_text() for path in kept] == ["a", "b", "c"]


def test_two_may_write_one_file_at_once(tmp_path):
    with atomic_write(tmp_path / "file.txt") as first:
        first.write_text("first")
        with atomic_write(tmp_path / "file.txt") as second:
            second.write_text("second")
        assert (tmp_path / "file.txt").read_text() == "second"
    assert (tmp_path / "file.txt").read_text() == "first"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("data: no such folder."), 1, "error: data: no such folder.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.mat"),
            1,
            "error: a.mat: No space left on device\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            f"error: {Path.cwd()}: No space left on device\n",
        ),
        (FileNotFoundError("a.pth: no such file."), 1, "error: a.pth: no such file.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 1, f"error: MemoryError. {LESS_MEMORY}\n"),
        (
            RuntimeError("can't start new thread"),
            1,
            f"error: can't start new thread. {MORE_THREADS}\n",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has\nmore"),
            1,
            f"error: CUDA out of memory. Tried to allocate 2 GiB. {LESS_MEMORY}\n",
        ),
    ],
)
def test_a_mistake_of_the_users_ends_in_one_line(error, status, message, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)  # no temporary file was made yet

    def main():
        raise error

    with pytest.raises(SystemExit) as exit:
        run_script(main)
    assert exit.value.code == status
    assert capsys.readouterr().err == message


def test_an_error_of_several_processes_is_printed_by_the_first_that_has_it(
    tmp_path, monkeypatch, capsys
):
    def ended(rank, error):
        def fail():
            raise error

        (tmp_path / rank).mkdir(exist_ok=True)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / rank / "error.json"))
        with pytest.raises(SystemExit, match="1"):
            run_script(fail)
        return capsys.readouterr().err

    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    assert ended("1", UserError("wrong")) == "error: wrong\n"
    assert waited == []
    assert ended("0", UserError("wrong")) == ""
    assert waited == [LATER]
    assert ended("0", UserError("worse")) == "error: worse\n"


def test_a_processor_without_memory_ends_a_script_in_one_line(capsys):
    with pytest.raises(SystemExit, match="1"):
        run_script(lambda: torch.empty(2**50))
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "allocate" in message
    assert "--batchsize" in message


@pytest.mark.parametrize("mistake", [lambda: 1 / 0, lambda: torch.ones(2) @ torch.ones(3)])
def test_a_mistake_of_ours_keeps_its_traceback(mistake):
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        run_script(mistake)


def test_remarks_are_left_out_if_another_program_wants_warnings_alone(caplog, capsys):
    caplog.set_level(logging.WARNING, "person_reid")
    print_remarks()
    logging.getLogger("person_reid.files").info("a remark")
    logging.getLogger("person_reid.files").warning("a warning")
    assert capsys.readouterr() == ("", "a warning\n")


def test_a_fault_that_was_logged_is_printed_with_its_traceback(capsys):
    print_remarks()
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("person_reid.files").exception("not written")
    said = capsys.readouterr().err
    assert said.startswith("not written\nTraceback (most recent call last):\n")
    assert said.endswith("KeyError: 'lost'\n")


def test_the_nearest_name_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("resnet5O", ["resnet50", "densenet121"]) == " Did you mean 'resnet50'?"
    assert did_you_mean("zebra", ["resnet50"]) == ""


def test_a_point_in_a_name_is_no_ending():
    assert with_ending("a/x0.25", ".md", ".jsonl").as_posix() == "a/x0.25.md"
    assert with_ending("a/x0.25.jsonl", ".md", ".jsonl").as_posix() == "a/x0.25.md"
    assert with_ending("net.ONNX", ".engine", ".onnx").name == "net.engine"
    # The file itself is not the answer.
    assert with_ending("results.md", ".md", ".jsonl").name == "results.md.md"


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(tmp_path / "pipe") as target:
        target.write_text("figures")
    assert os.read(reader, 100) == b"figures"
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_names_that_a_terminal_would_obey_are_printable():
    assert printable("a\x1b[2Jb\r\u202ec\udce9\n") == "a\ufffd[2Jb\ufffd\ufffdc\ufffd\n"
    assert printable("Zoë 山\t") == "Zoë 山\t"


def test_a_lock_is_held_by_one_and_waited_for_by_others(tmp_path, caplog):
    done = []

    def second():
        with only_writer(tmp_path / "lock", "here", wait=True):
            done.append("second")

    with only_writer(tmp_path / "lock", "here"):
        refused = pytest.raises(UserError, match="here: another process is writing there")
        with refused, only_writer(tmp_path / "lock", "here"):
            pass
        thread = threading.Thread(target=second)
        with caplog.at_level("INFO"):
            thread.start()
            thread.join(0.3)
        done.append("first")
    thread.join()
    assert done == ["first", "second"]
    assert "waiting for another process" in caplog.text


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("old")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    except OSError:
        pytest.skip("links need a permission here")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_text() == "new"


def test_a_folder_is_no_file_to_write(tmp_path):
    with (
        pytest.raises(IsADirectoryError, match="expected the name of a file"),
        atomic_write(tmp_path),
    ):
        pass


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
@pytest.mark.parametrize("lines", [10, 200_000])
def test_a_reader_that_has_ended_ends_a_command_without_a_word(lines):
    code = (
        "from person_reid.console import run_script; run_script(lambda: "
        f"[print(i) for i in range({lines})])"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as done:
        assert done.stdout
        assert done.stderr
        done.stdout.close()
        assert done.wait(60) == 1
        assert done.stderr.read() == b""


def test_a_program_without_a_console_ends_well(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    ran: list[int] = []
    run_script(lambda: ran.append(1))
    assert ran


def test_what_has_not_begun_is_not_done_once_the_caller_stops():
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        next(in_order(pool, work, itertools.count(), ahead=100))
    assert len(begun) < 10


def test_a_full_disk_names_the_folder(tmp_path):
    with (
        pytest.raises(OSError, match="No space left") as error,
        whole_folder(tmp_path / "look", ".mark"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "look")
    assert not list(tmp_path.iterdir())


def test_a_folder_outlasts_a_kill_between_the_two_renames(tmp_path):
    with whole_folder(tmp_path / "look", ".mark") as folder:
        (folder / "page.html").write_text("old")
    (tmp_path / "look").rename(tmp_path / ".look.older")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "look", ".mark"):
        raise ZeroDivisionError
    assert (tmp_path / "look" / "page.html").read_text() == "old"


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    with whole_folder(tmp_path / "look", ".mark") as folder:
        (folder / "page.html").write_text("old")
    rename = Path.rename

    def refused(self, target):
        if self.name == ".look.partial":
            raise PermissionError(errno.EACCES, "in use")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError), whole_folder(tmp_path / "look", ".mark"):
        pass
    assert (tmp_path / "look" / "page.html").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_one_is_singular():
    assert [counted(number, "epoch") for number in (0, 1, 20)] == [
        "0 epochs",
        "1 epoch",
        "20 epochs",
    ]
    assert [counted(number, "person", "people") for number in (1, 2000)] == [
        "1 person",
        "2,000 people",
    ]


def test_the_first_line_of_an_error_says_something_and_not_too_much():
    assert first_line(ValueError("first\nsecond")) == "first"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("\x1b[1mbold\x1b[0m")) == "bold"
    assert first_line(ValueError("x" * 300)) == "x" * 200
    assert first_line(ValueError("x" * 300), 120) == "x" * 120


def test_another_process_imports_this_package_and_then_from_where_this_one_does(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    assert importable() == {"PYTHONPATH": os.pathsep.join([str(ROOT), "mine"])}
    monkeypatch.delenv("PYTHONPATH")
    assert importable() == {"PYTHONPATH": str(ROOT)}


def test_another_process_does_not_import_from_where_this_one_was_told_not_to(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from person_reid import files"
        "; print(files.importable())"
    )
    for flag in ("-E", "-I"):
        found = subprocess.run(
            [sys.executable, flag, "-c", script], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == str({"PYTHONPATH": str(ROOT)})


def test_a_folder_of_an_earlier_version_whose_mark_lists_nothing_is_replaced(tmp_path):
    look = tmp_path / "deep" / "look"  # neither of which is there yet
    with whole_folder(look, ".mark") as folder:
        (folder / "page.html").write_text("old")
    (look / ".mark").write_text("")
    with whole_folder(look, ".mark") as folder:
        (folder / "index.html").write_text("new")
    assert {path.name for path in look.iterdir()} == {".mark", "index.html"}


def test_a_letter_that_the_output_lacks_becomes_a_question_mark(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), "ascii", newline="")
    monkeypatch.setattr(sys, "stdout", output)
    run_script(lambda: print("Zoë"))
    output.flush()
    assert output.buffer.getvalue() == b"Zo?\n"


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_reader_that_ends_costs_no_traceback(unbuffered):
    """The command is of the kind `python evaluate.py | head -1`."""
    code = (
        "import time; from person_reid.console import run_script\n"
        "def main():\n"
        "    print('query: 10 images', flush=True); time.sleep(0.5)\n"
        "    print('x' * 100_000)\n"
        "run_script(main)"
    )
    command = [sys.executable, *unbuffered, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"query: 10 images\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_a_folder_is_compared_once_its_path_is_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter").write_text("years of work")
    (tmp_path / "link").symlink_to(thesis)
    (tmp_path / "loop").symlink_to("loop")
    for path in ("thesis", "none/../thesis", "thesis/none/..", "link", "link/../thesis", "loop"):
        with pytest.raises((UserError, OSError)), whole_folder(path, ".mark"):
            raise AssertionError("it must not begin")
    assert (thesis / "chapter").read_text() == "years of work"
    with whole_folder("none/../look", ".mark") as folder:
        (folder / "page.html").write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "link", "loop", "look"}
    monkeypatch.chdir(tmp_path / "look")
    with pytest.raises(UserError, match="the folder you are in"), whole_folder(".", ".mark"):
        raise AssertionError("it must not begin")


def test_a_file_is_written_where_its_path_leads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("none/../a.txt", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    Path("loop").symlink_to("loop")
    Path("far").symlink_to(tmp_path / "gone" / "file")
    for write in (write_text, lambda path, _: check_target(path)):
        with pytest.raises(OSError, match="leads back to itself") as error:
            write("loop", "text")
        assert error.value.filename == "loop"
        assert Path("loop").is_symlink()
        with pytest.raises(FileNotFoundError, match="a link into .*gone, which is not there"):
            write("far", "text")
        with pytest.raises(NotADirectoryError, match="expected a folder") as error:
            write("a.txt/deeper/b.txt", "text")
        assert error.value.filename.endswith("a.txt")
    with pytest.raises(IsADirectoryError, match=r"expected the name of a file.*'/'"):
        with_ending("/", ".json")


NAMES = ["hall", "caf\u00e9 3", "con1", "a.b", "-x"]
NO_NAMES = ["", ".", "..", ".hidden", "/a", "a/b", "a\\b", "a\nb", "a\tb", "a\0b", "a\x1b[2J"]
NO_NAMES += ["\u202ea", "CON", "nul", "com1.txt", "a.", "a ", "x" * 201, "caf\udce9", "a\ud800"]


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_name_may_become_that_of_a_file(name):
    assert is_file_name(name)
    assert as_file_name(name) == name


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_would_lead_elsewhere_is_no_name_and_can_be_made_one(name):
    assert not is_file_name(name)
    assert is_file_name(as_file_name(name))
    assert is_file_name(f"{as_file_name(name)}-12345678.txt")


@pytest.mark.parametrize("value", [None, 3, b"hall", ["hall"]])
def test_other_values_are_no_names(value):
    assert not is_file_name(value)


@given(st.text(st.sampled_from("'=+-@\t\r\n1.a ")) | st.text())
def test_a_harmless_cell_is_no_formula_and_comes_back(cell):
    written = str(harmless(cell))
    assert plain_cell(written) == cell
    assert written[:1] not in (*"=+@\t\r\n",)
    assert not written.startswith("-") or not written.strip("-.0123456789")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_folder_with_a_newline_in_a_name_is_replaced(tmp_path):
    for _ in range(2):
        with whole_folder(tmp_path / "look", ".mark") as folder:
            (folder / "a\nb").mkdir()
            (folder / "a\nb" / "1.txt").write_text("1")
    assert (tmp_path / "look" / "a\nb" / "1.txt").is_file()


@pytest.mark.parametrize("name", [".look.older", ".look.partial"])
def test_a_folder_of_somebody_else_beside_is_neither_deleted_nor_taken(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("mine")
    for begin in (check_folder, lambda *words: whole_folder(*words).__enter__()):
        with pytest.raises(UserError, match=rf"{name}: exists, and was not written by this"):
            begin(tmp_path / "look", ".mark")
    assert [path.name for path in tmp_path.rglob("*")] == [name, "thesis.txt"]


def test_what_a_killed_process_left_beside_a_folder_is_removed(tmp_path):
    writing = whole_folder(tmp_path / "look", ".mark")
    (writing.__enter__() / "1.txt").write_text("1")
    shutil.copytree(tmp_path / ".look.partial", tmp_path / "kept")
    writing.__exit__(None, None, None)
    (tmp_path / "kept").rename(tmp_path / ".look.partial")
    with whole_folder(tmp_path / "look", ".mark") as folder:
        (folder / "2.txt").write_text("2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".mark", "2.txt", "look"]


def test_a_cell_of_markdown_keeps_its_quotes_but_no_bar_and_no_html():
    assert in_markdown('"a" |\n <b>') == '"a" &#124; &lt;b&gt;'
