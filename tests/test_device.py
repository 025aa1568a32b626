"""The device, precision and threads of a process."""

import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from person_reid import cli, device
from person_reid.basics import UserError, importable
from person_reid.device import autocast, busy_cores, select_device
from person_reid.distributed import World


@pytest.mark.parametrize("gpu_ids", ["0,1", "first", "", "1.5", "-2"])
def test_a_device_is_one_number(gpu_ids):
    with pytest.raises(UserError, match=f"--gpu_ids {gpu_ids}: expected the number of one GPU"):
        select_device(gpu_ids)


@pytest.mark.parametrize(
    ("gpu_ids", "chosen"), [("0,1", "01"), ("3,2", "32"), ("1", "01"), ("0", "01"), ("-1", ["-1", "-1"])]
)
def test_each_process_has_its_own_gpu(gpu_ids, chosen):
    assert [World(rank, 2, rank).gpu(gpu_ids) for rank in range(2)] == list(chosen)
    assert World().gpu("1") == "1"


@pytest.mark.parametrize(("gpu_ids", "chosen"), [("2,3", "3"), ("0", "1")])
def test_processes_of_several_machines_have_the_gpus_of_their_own(gpu_ids, chosen):
    assert World(rank=5, size=8, local_rank=1).gpu(gpu_ids) == chosen


def test_the_parts_of_all_processes_cover_everything():
    assert [World(rank, 3, rank).part(10) for rank in range(3)] == [(0, 3), (3, 6), (6, 10)]


def test_minus_one_is_the_cpu_and_a_gpu_must_be_there(monkeypatch):
    assert select_device("-1") == select_device(-1) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="this machine has 2 GPU"):
        select_device("2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("0").type in ("cpu", "mps")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that lets Linux say these groups, /proc/self/cgroup, and these files of them; 8 cores else."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "CONTROL_GROUPS", tmp_path)

    def say(lines, files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        read = Path.read_text
        own = Path("/proc/self/cgroup")
        monkeypatch.setattr(
            Path, "read_text", lambda path, *args, **how: lines if path == own else read(path, *args, **how)
        )
        device._quota.cache_clear()

    yield say
    device._quota.cache_clear()


def first_version(quota, folder="cpu"):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("lines", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/user/app\n", {"user/cpu.max": "300000 100000\n", "user/app/cpu.max": "max 100000\n"}, 3),
        ("0::/user/app\n", {"user/cpu.max": "300000 100000\n", "user/app/cpu.max": "200000 100000\n"}, 2),
        ("5:memory:/a\n4:cpu,cpuacct:/docker/4f\n0::/\n", first_version(300000), 3),
        ("4:cpuacct,cpu:/a:b\n", first_version(200000, "cpu/a:b"), 2),
        ("4:cpuset:/a\n", first_version(100000, "cpu/a"), 8),
        ("4:cpu:/\n", first_version(-1), 8),
        ("0::/\n", {"cpu.max": "\n"}, 8),
        ("0::/\n", {}, 8),
        ("damaged\n", {"cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(groups, lines, files, cores):
    groups(lines, files)
    assert device.available_cores() == cores


def test_pytorch_has_no_more_threads_than_the_quota_grants(groups, monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    groups("0::/\n", {"cpu.max": "250000 100000\n"})
    select_device("-1")
    assert chosen == [3]
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    select_device("-1")
    assert chosen == [3], "the user chose"


@pytest.mark.parametrize(
    ("running", "minute", "busy"),
    [("1/80", 0.1, 0), ("1/80", 3.0, 0), ("4/80", 0.1, 0), ("2/80", 1.2, 1), ("4/80", 1.7, 2), ("3/80", 9.0, 2)],
)
def test_cores_are_busy_that_were_and_still_are(running, minute, busy, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"{minute} 0.5 0.5 {running} 12345\n")
    assert busy_cores() == busy


def test_a_command_that_is_just_ending_does_not_count(monkeypatch):
    looks = iter(["3/80", "1/80"])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"2.0 0.5 0.5 {next(looks)} 12345\n")
    assert busy_cores() == 0


@pytest.mark.parametrize("content", ["", "0.1 0.5 0.5", "a b c d/e f"])
def test_a_system_that_does_not_say_is_quiet(content, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: content)
    assert busy_cores() == 0


def test_a_system_without_proc_is_quiet(monkeypatch):
    def missing(path, **_):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.delattr(os, "getloadavg", raising=False)  # Windows has none
    assert busy_cores() == 0


@pytest.mark.parametrize(("busy", "spins"), [(0, "3000"), (1, "3000"), (3, "100")])
def test_threads_spin_briefly_unless_the_user_chose(busy, spins, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(cli, "busy_cores", lambda: busy)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    cli.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == spins
    monkeypatch.setattr(cli, "busy_cores", lambda: 4)
    cli.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "100", "a command that this one starts looks at the cores itself"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cli.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.setenv("GOMP_SPINCOUNT", spins)  # another command's choice
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")  # which libgomp would ignore beside the other
    cli.wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has this setting")
def test_large_blocks_are_used_again_without_new_pages():
    script = """
import resource
from person_reid.device import keep_memory

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
    monkeypatch.setattr(device, "available_cores", lambda: 4)
    monkeypatch.setattr(device, "busy_cores", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("results would depend on the load"))
    select_device("-1")
    assert "OMP_NUM_THREADS=3" not in caplog.text  # it is set already
    monkeypatch.delenv("OMP_NUM_THREADS")
    select_device("-1")
    assert "OMP_NUM_THREADS=3" in caplog.text
    monkeypatch.setattr(device, "busy_cores", lambda: 4)
    select_device("-1")
    assert "OMP_NUM_THREADS=1 " in caplog.text  # 0 would not start


@pytest.mark.parametrize("tf32", [True, False])
def test_a_training_on_a_gpu_is_repeatable_and_its_precision_the_users(tf32, monkeypatch):
    matmul, cudnn = SimpleNamespace(), SimpleNamespace()
    monkeypatch.setattr(torch.backends, "cuda", SimpleNamespace(matmul=matmul))
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    device.prepare_training(torch.device("cuda"), tf32)
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic) == (tf32, tf32, True)


def test_only_processors_lack_types(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    emulates = device.emulates.__wrapped__
    assert [emulates(torch.device(kind), torch.bfloat16) for kind in ("cuda", "cpu")] == [False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("computes", [True, False])
def test_a_type_that_the_processor_lacks_is_not_emulated(dtype, computes, monkeypatch, caplog):
    name = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: computes)
    monkeypatch.setattr(device, "emulates", device.emulates.__wrapped__)  # what it returned before does not count
    monkeypatch.setattr(device, "_tell_of_float32", cache(device._tell_of_float32.__wrapped__))
    for _ in range(2):
        with autocast(torch.device("cpu"), dtype):
            assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == (dtype if computes else torch.float32)
    assert caplog.text.count(f"--{name}: PyTorch would emulate {dtype}") == (not computes)
