"""DDP.sh, the script: the torchrun command it makes of its environment, and what it refuses."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script of bash")


def ddp(cwd, *words, **environment):
    """What DDP.sh prints; `echo` shows the command that Python would get."""
    command = ["bash", os.path.relpath(ROOT / "DDP.sh", cwd), *words]
    own = {"PATH": os.environ["PATH"], "PYTHON": "echo", **environment}
    return subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--data_dir", "nowhere", "nowhere: no such folder"),
        pytest.param("--batchsize", "0", "0: expected a number above 0", marks=pytest.mark.slow),
    ],
)
def test_an_error_of_all_processes_comes_once_and_without_a_traceback(
    flag, value, message, tmp_path
):
    done = ddp(tmp_path, flag, value, PYTHON=sys.executable, NPROC="2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count(message) == 1
    assert done.stderr.splitlines()[-1] == "error: A process ended with an error; see above."


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        *(
            ({"NPROC": value}, f"NPROC={value}: expected a whole number")
            for value in ("x", "0", "-1", "2.0", "1" * 30)
        ),
        *(
            ({"NNODES": value}, f"NNODES={value}: expected a whole number")
            for value in ("abc", "0")
        ),
        ({"NNODES": "2"}, "set MASTER_ADDR"),
        (
            {"NNODES": "2", "MASTER_ADDR": "10.0.0.1"},
            "NODE_RANK=: expected a whole number from 0 to 1",
        ),
        ({"NNODES": "2", "MASTER_ADDR": "10.0.0.1", "NODE_RANK": "2"}, "NODE_RANK=2"),
        (
            {"NNODES": "2", "MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1", "MASTER_PORT": "http"},
            "MASTER_PORT=http",
        ),
    ],
)
def test_what_is_no_number_is_refused_in_one_line(environment, named, tmp_path):
    done = ddp(tmp_path, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_the_script_starts_where_the_user_is(tmp_path):
    done = ddp(tmp_path, "--data_dir", "people", NPROC="3")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    script = next(place for place, word in enumerate(words) if word.endswith("train_DDP.py"))
    assert (tmp_path / words[script]).samefile(ROOT / "train_DDP.py")
    assert words[:script] == [
        "-m",
        "person_reid.console.launch",
        "--standalone",
        "--nproc_per_node",
        "3",
    ]
    assert words[-2:] == ["--data_dir", "people"]


def test_several_machines_find_the_first(tmp_path):
    done = ddp(tmp_path, NNODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1", NPROC="2")
    place = "--nnodes 2 --node_rank 1 --master_addr 10.0.0.1 --master_port 29500 --nproc_per_node 2"
    assert done.returncode == 0
    assert place in done.stdout


def test_python3_is_taken_where_there_is_no_python(tmp_path):
    """A folder of programs has bash, the programs of the script, and python3 but not python."""
    for name in ("bash", "dirname", "wc"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = ddp(tmp_path, NPROC="1", PYTHON="", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: neither python nor python3 is there")
    (tmp_path / "python3").symlink_to(shutil.which("echo") or "echo")
    done = ddp(tmp_path, NPROC="1", PYTHON="", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("-m person_reid.console.launch")
    (tmp_path / "python").symlink_to(shutil.which("true") or "true")
    assert ddp(tmp_path, NPROC="1", PYTHON="", PATH=str(tmp_path)).stdout == ""
