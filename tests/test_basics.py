import errno
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from person_reid import basics, cli
from person_reid.basics import (
    UserError,
    atomic_write,
    busy_cores,
    did_you_mean,
    importable,
    only_writer,
    printable,
    select_device,
    with_ending,
)
from person_reid.cli.main import run_script


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
    with pytest.raises(OSError, match="No space left on device") as error, atomic_write(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "file.txt")


def test_what_a_killed_process_left_behind_is_overwritten(tmp_path):
    (tmp_path / ".file.txt.partial").write_text("half of a longer text")
    with atomic_write(tmp_path / "file.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("data: no such folder."), 1, "error: data: no such folder.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a.mat"), 1, "error: a.mat: No space left on device\n"),
        (FileNotFoundError("a.pth: no such file."), 1, "error: a.pth: no such file.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_a_mistake_of_the_users_ends_in_one_line(error, status, message, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as exit:
        run_script(main)
    assert exit.value.code == status and capsys.readouterr().err == message


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


def test_the_nearest_name_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("resnet5O", ["resnet50", "densenet121"]) == " Did you mean 'resnet50'?"
    assert did_you_mean("zebra", ["resnet50"]) == ""


@pytest.mark.parametrize("gpu_ids", ["0,1", "first", "", "1.5"])
def test_a_device_is_one_number(gpu_ids):
    with pytest.raises(UserError, match=f"--gpu_ids {gpu_ids}: expected the number of one GPU"):
        select_device(gpu_ids)


def test_a_point_in_a_name_is_no_ending():
    assert with_ending("a/x0.25", ".md", ".jsonl").as_posix() == "a/x0.25.md"
    assert with_ending("a/x0.25.jsonl", ".md", ".jsonl").as_posix() == "a/x0.25.md"
    assert with_ending("net.ONNX", ".engine", ".onnx").name == "net.engine"
    assert with_ending("results.md", ".md", ".jsonl").name == "results.md.md"  # and not the file itself


def test_minus_one_is_the_cpu_and_a_gpu_must_be_there(monkeypatch):
    assert select_device("-1") == select_device(-1) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="this machine has 2 GPU"):
        select_device("2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("0").type in ("cpu", "mps")


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(tmp_path / "pipe") as target:
        target.write_text("figures")
    assert os.read(reader, 100) == b"figures" and (tmp_path / "pipe").is_fifo()
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
    assert done == ["first", "second"] and "waiting for another process" in caplog.text


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("old")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    except OSError:
        pytest.skip("links need a permission here")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "file").read_text() == "new"


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected the name of a file"), atomic_write(tmp_path):
        pass


@pytest.mark.parametrize(
    ("running", "minute", "busy"),
    [("1/80", 0.1, 0), ("1/80", 3.0, 0), ("4/80", 0.1, 0), ("2/80", 1.2, 1), ("4/80", 1.7, 2), ("3/80", 9.0, 2)],
)
def test_cores_are_busy_that_were_and_still_are(running, minute, busy, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"{minute} 0.5 0.5 {running} 12345\n")
    monkeypatch.setattr(os, "getloadavg", lambda: (minute, 0.5, 0.5), raising=False)
    assert busy_cores() == busy


def test_a_command_that_is_just_ending_does_not_count(monkeypatch):
    looks = iter(["3/80", "1/80"])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"2.0 0.5 0.5 {next(looks)} 12345\n")
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.5, 0.5), raising=False)
    assert busy_cores() == 0


@pytest.mark.parametrize("content", ["", "0.1 0.5 0.5", "a b c d/e f"])
def test_a_system_that_does_not_say_is_quiet(content, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: content)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.5, 0.5), raising=False)
    assert busy_cores() == 0


@pytest.mark.parametrize(("busy", "spins"), [(0, "10000"), (1, "10000"), (3, "1000")])
def test_threads_spin_briefly_unless_the_user_chose(busy, spins, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(cli, "busy_cores", lambda: busy)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    cli.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == spins
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cli.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")  # which libgomp would ignore beside the other
    cli.wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has this setting")
def test_large_blocks_are_used_again_without_new_pages():
    script = """
import resource
from person_reid.basics import keep_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = min(new_pages() for _ in range(3))
keep_memory()
print(usual, min(new_pages() for _ in range(3)))
"""
    environment = {**os.environ, **importable()}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    usual, kept = map(int, found.stdout.split())
    assert 4 * kept < usual


def test_a_busy_machine_is_mentioned_but_the_number_of_threads_stays(monkeypatch, caplog):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(basics, "busy_cores", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("results would depend on the load"))
    select_device("-1")
    assert "OMP_NUM_THREADS=3" not in caplog.text  # it is set already
    monkeypatch.delenv("OMP_NUM_THREADS")
    select_device("-1")
    assert "OMP_NUM_THREADS=3" in caplog.text
