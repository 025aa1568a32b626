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
    assert done.stderr.splitlines()[-1] == "error: A process ended with the error above."


def test_several_machines_need_the_address_of_the_first(tmp_path):
    done = ddp(tmp_path, NNODES="2", NODE_RANK="1")
    assert done.returncode != 0
    assert "MASTER_ADDR: is the address of the first machine" in done.stderr


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
    programs = {name: name for name in ("bash", "dirname", "wc")} | {"python3": "echo"}
    for name, program in programs.items():
        (tmp_path / name).symlink_to(shutil.which(program) or program)
    done = ddp(tmp_path, NPROC="1", PYTHON="", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("-m person_reid.console.launch")
