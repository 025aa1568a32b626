"""Two processes on the CPU against one with the batch of both."""

import io
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from benchmarks.support.people import write_people
from person_reid import create_model
from person_reid.distributed import join_world, start_processes
from person_reid.errors import UserError
from tests.support import ROOT
from tests.support.plain_training import RUNS, SMALL, name_of, train_plainly
from tests.support.runs import equal_weights, log, weights
from tests.support.scripts import refused, run
from tests.support.two_processes import two_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TESTED = ["--name", "tested", "--test_dir", "people", "--gpu_ids", "-1"]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_people(folder / "people" / "train_all", people=8, images=10, seed=0)
    # One of these people is not trained on.
    write_people(folder / "people" / "val", people=9, images=1, seed=0)
    torch.save(create_model("test_resnet", weights="none").state_dict(), folder / "teacher.pth")
    return folder


def start(command, cwd, **options):
    return subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=240, **options
    )


@pytest.fixture(scope="module")
def plain_runs(cwd):
    """Each of RUNS, by this process with batches of 16 and by two with 8 each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        train_plainly("--batchsize", "16")
    said = "".join(two_processes(trained_plainly, cwd, cwd))
    assert said.count("2 processes") == said.count("Done:") == len(RUNS)
    assert said.count("Validation skips 1 of 9 images") == len(RUNS)  # said by the first
    return cwd


def trained_plainly(folder):
    """Train each of RUNS with batches of 8 as one of two processes; returns what is printed."""
    said = io.StringIO()
    os.chdir(folder)
    with redirect_stdout(said), redirect_stderr(said):
        train_plainly("--batchsize", "8")
    return said.getvalue()


def names(flags):
    """The runs of some flags by one process and by two."""
    return [name_of(flags, processes) for processes in (1, 2)]


@pytest.mark.parametrize("flags", RUNS)
def test_two_processes_train_the_network_of_one_with_the_batch_of_both(plain_runs, flags):
    """Three epochs of five updates: losses to 1e-4, weights to 1e-3."""
    one, two = names(flags)
    for first, second in zip(log(one, plain_runs), log(two, plain_runs), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["val_loss"] == pytest.approx(first["val_loss"], rel=1e-3)
        assert second["error"] == pytest.approx(first["error"], abs=0.02)
    first, second = (weights(name, "resume.pth", plain_runs) for name in (one, two))
    parts = ["network", "criterion", *(["average"] if "--wa" in flags else [])]
    assert all(first[part].keys() == second[part].keys() for part in parts)
    for part in parts:
        for key, value in first[part].items():
            torch.testing.assert_close(second[part][key], value, rtol=1e-3, atol=1e-3)


def test_averaged_statistics_are_of_the_images_of_all_processes(plain_runs):
    """The first means agree exactly, since what goes in is the same.

    Further in, the norms of half a batch play a part.
    """
    one, two = (weights(name, "net_average_bn.pth", plain_runs) for name in names(RUNS[0]))
    means = [name for name in one if name.endswith("running_mean")]
    torch.testing.assert_close(two[means[0]], one[means[0]], rtol=1e-4, atol=1e-5)
    for name in means:
        deviation = (two[name] - one[name]).abs() / one[name.replace("mean", "var")].sqrt()
        assert deviation.mean() < 0.05, name


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_a_restart_goes_on_and_sigterm_saves(cwd):
    """One of two processes is killed once an epoch is saved.

    torchrun starts both again, and gets SIGTERM once they have saved another. A run with --resume
    comes to the end.
    """
    command = [
        *TORCHRUN,
        "--max_restarts",
        "1",
        ROOT / "train_DDP.py",
        *SMALL,
        "--batchsize",
        "8",
        "--total",
        "8",
        "--name",
        "restarted",
    ]
    saved = cwd / "model" / "restarted" / "log.jsonl"
    with start_in_background(command, cwd) as run:
        wait_for(saved.exists, run)
        os.kill(children_of(run)[-1], signal.SIGKILL)
        before = len(log("restarted", cwd))
        # At most one was being written.
        wait_for(lambda: len(log("restarted", cwd)) > before + 1, run)
        run.terminate()
        output, _ = run.communicate(timeout=100)
    assert "lost the others" in output, output
    assert "continuing after epoch" in output, output
    assert run.returncode != 0, output
    assert "Stopped by SIGTERM in epoch" in output, output
    state = weights("restarted", "resume.pth", cwd)
    assert state["epoch"] == len(log("restarted", cwd)) < 8
    done = start([*command, "--resume"], cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"continuing after epoch {state['epoch']}" in done.stdout, done.stdout + done.stderr
    assert [record["epoch"] for record in log("restarted", cwd)] == list(range(1, 9))


@pytest.mark.slow
def test_processes_end_with_a_launcher_that_is_killed(cwd):
    """They hold the other end of its output, which ends with the last of them."""
    flags = [*SMALL, "--batchsize", "8", "--total", "1000", "--name", "orphaned"]
    with start_in_background([*TORCHRUN, ROOT / "train_DDP.py", *flags], cwd) as launcher:
        wait_for((cwd / "model" / "orphaned" / "log.jsonl").exists, launcher)
        workers = children_of(launcher)
        launcher.kill()
        try:
            output, _ = launcher.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            raise
    assert len(workers) == 2, output
    assert "torchrun has ended, so this process also ends" in output, output
    assert weights("orphaned", "resume.pth", cwd)["epoch"] >= 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [("Gloo: Connection closed by peer", UserError), ("our own mistake", RuntimeError)],
)
def test_an_error_of_this_process_does_not_accuse_the_others(said, kind, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"LOCAL_RANK": 0, "RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(Exception, match=said) as raised, join_world():
        raise RuntimeError(said)
    torch.distributed.destroy_process_group()
    assert raised.type is kind


def start_in_background(command, cwd):
    return subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children_of(process):
    """The processes that it has started.

    If they cannot be found, it is killed and the test skipped.
    """
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("needs /proc to find the processes")
    return [int(number) for number in children.read_text().split()]


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until, process.stdout.read()
        time.sleep(0.02)


@pytest.mark.slow
def test_sigterm_saves_and_a_resumed_run_ends_with_the_same_bits(cwd):
    flags = [*SMALL, "--batchsize", "4", "--erasing_p", "0.5", "--total", "3"]
    run("train", *flags, "--name", "whole", cwd=cwd)
    with start_in_background(
        [sys.executable, ROOT / "train.py", *flags, "--name", "stopped"], cwd
    ) as stopped:
        wait_for((cwd / "model" / "stopped" / "log.jsonl").exists, stopped)
        stopped.terminate()
        output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 143
    assert "Stopped by SIGTERM in epoch" in output
    assert "Traceback" not in output
    assert "continuing after epoch" in run(
        "train", *flags, "--name", "stopped", "--resume", cwd=cwd
    )
    assert equal_weights(weights("whole", cwd=cwd), weights("stopped", cwd=cwd))


COPY = """
import pathlib

def train(config, world, original=train):
    pathlib.Path(f"mine{world.rank}").write_text(f"{config.batchsize} of {world.size}")
    return original(config, world)

"""


def copy_of_train(folder):
    """Write a copy of train.py that leaves a file for each process, and return its path."""
    text = (ROOT / "train.py").read_text(encoding="utf-8")
    start_of_main = 'if __name__ == "__main__":'
    assert start_of_main in text
    mine = folder / "my_train.py"
    mine.write_text(text.replace(start_of_main, COPY + start_of_main), encoding="utf-8")
    return mine


@pytest.fixture(scope="module")
def shared_out(cwd):
    """The run "tested", trained and tested by two processes of a copy of train.py, and its line."""
    write_people(cwd / "people" / "query", people=5, images=2, seed=3)
    write_people(cwd / "people" / "gallery", people=5, images=3, seed=4)
    words = [word for word in SMALL if word not in ("--gpu_ids", "-1")] + ["--gpu_ids", "0,1"]
    flags = [*words, "--total", "1", "--eval_every", "1", "--name", "tested"]
    assert "does not divide" in refused("train", *flags, "--batchsize", "15", cwd=cwd)
    said: list[str] = []

    def forked(words):  # run_processes, without the imports of PyTorch
        assert words[:3] == ["--standalone", "--nproc_per_node", "2"]
        said.extend(two_processes(run_here, *[(cwd, words[3:])] * 2))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("person_reid.distributed.run_processes", forked)
        run_here((cwd, [copy_of_train(cwd), *flags, "--batchsize", "8"]))
    assert "2 processes" in said[0]
    printed = run("test", *TESTED, "--result", "one.mat", cwd=cwd)
    return next(line for line in printed.splitlines() if line.startswith("Rank@1"))


def run_here(place):
    """Run a script in a folder, given as (folder, words), and return what it prints.

    Without a GPU, all processes are on the CPU.
    """
    folder, words = place
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.setattr("sys.argv", [*map(str, words)])
        runpy.run_path(sys.argv[0], run_name="__main__")
    return said.getvalue()


def test_gpu_ids_start_processes_that_share_out_the_images_in_training_and_evaluation(
    cwd, shared_out
):
    (record,) = log("tested", cwd)
    assert f"Rank@1:{record['rank1']:.6f}" in shared_out
    assert f"mAP:{record['mAP']:.6f}" in shared_out


def test_a_copy_of_train_py_starts_itself(cwd, shared_out):
    assert [(cwd / f"mine{rank}").read_text() for rank in range(2)] == ["4 of 2"] * 2


ALONE = """
import datetime, time
from torch import distributed

usual = distributed.init_process_group
distributed.init_process_group = lambda *given, **settings: usual(
    *given, timeout=datetime.timedelta(seconds=2), **settings
)
from person_reid import join_world

with join_world() as world:
    with world.main_process_first():
        time.sleep(5 * world.is_main)
    print("together")
"""


@pytest.mark.slow
def test_processes_wait_for_one_that_decodes_for_longer_than_their_limit(tmp_path):
    (tmp_path / "alone.py").write_text(ALONE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = start([*TORCHRUN, tmp_path / "alone.py"], tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("together") == 2


@pytest.mark.parametrize(
    ("typed", "script", "started"),
    [
        ("my_train.py", "/here/my_train.py", ["/here/my_train.py"]),
        ("person-reid train", "/packed/train.py", ["-m", "person_reid", "train"]),
        ("person-reid test", "/here/my_train.py", ["/here/my_train.py"]),
    ],
)
def test_a_script_is_started_by_its_file_and_a_command_by_its_name(
    typed, script, started, monkeypatch
):
    words: list[str] = []
    monkeypatch.setattr("person_reid.distributed.run_processes", words.extend)
    monkeypatch.setattr("sys.argv", [typed, "--gpu_ids", "0,3"])
    start_processes(script, "0,3", ["--gpu_ids", "0,3"])
    assert words == ["--standalone", "--nproc_per_node", "2", *started, "--gpu_ids", "0,3"]


@pytest.mark.slow
def test_two_processes_share_out_the_images_of_a_test(cwd, shared_out):
    shutil.rmtree(cwd / "people" / ".cache")  # two decode anew
    two = start([*TORCHRUN, ROOT / "test.py", *TESTED, "--result", "two.mat"], cwd)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("Rank@1:") == 1
    assert shared_out in two.stdout
    assert len(list((cwd / "people" / ".cache").glob("*.npy"))) == 2


def on_two_machines(folders, flags, first=()):
    """Run a training with a folder for each machine; return their exit statuses and outputs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = ["--nnodes", "2", "--master_addr", "127.0.0.1"]
        place += ["--master_port", free.getsockname()[1]]
    command = [sys.executable, "-m", "person_reid.console.launch", *place, "--nproc_per_node", "1"]
    machines = [
        start_in_background(
            [
                *command,
                "--node_rank",
                rank,
                ROOT / "train_DDP.py",
                *flags,
                *(first if rank == 0 else ()),
            ],
            folder,
        )
        for rank, folder in enumerate(folders)
    ]
    outputs = [machine.communicate(timeout=240)[0] for machine in machines]
    return [machine.returncode for machine in machines], outputs


@pytest.fixture
def folders(cwd, tmp_path, monkeypatch):
    """The folders of two machines, which have the same images and share nothing."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        shutil.copytree(cwd / "people", place / "people")
    return places


APART = [*SMALL, "--batchsize", "8", "--name", "apart", "--total", "1", "--resume"]


def train_apart(folder):
    return run("train", *APART, cwd=folder)


def test_machines_without_a_shared_folder_resume(folders):
    for _ in range(2):
        outputs = two_processes(train_apart, *folders)
    assert "continuing after epoch 1" in outputs[0]  # the second one has no resume.pth
    assert len(log("apart", folders[0])) == 1
    assert not (folders[1] / "model").exists()


@pytest.mark.slow
def test_a_refused_start_on_one_machine_ends_the_others(folders):
    flags = [*SMALL, "--batchsize", "8", "--name", "refused"]
    began = time.monotonic()
    statuses, outputs = on_two_machines(folders, flags, ["--config", "missing.yaml"])
    assert statuses == [1, 1]
    assert "missing.yaml: no such options file" in outputs[0]
    assert re.search("machine has ended|first machine does not answer", outputs[1])
    assert "Traceback" not in outputs[1]
    assert time.monotonic() < began + 100
