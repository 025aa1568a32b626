"""The device, precision and threads of a process."""

import os
import platform
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import pytest
import torch

from person_reid import device
from person_reid.device import autocast, memory_format, select_device
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.files import importable


@pytest.mark.parametrize("gpu_ids", ["0,1", "first", "", "1.5", "-2"])
def test_a_device_is_one_number(gpu_ids):
    with pytest.raises(UserError, match=f"gpu_ids={gpu_ids}: expected the number of one GPU"):
        select_device(gpu_ids)


@pytest.mark.parametrize(
    ("gpu_ids", "chosen"),
    [("0,1", "01"), ("3,2", "32"), ("1", "01"), ("0", "01"), ("-1", ["-1", "-1"])],
)
def test_each_process_has_its_own_gpu(gpu_ids, chosen):
    assert [World(rank, 2, rank).gpu(gpu_ids) for rank in range(2)] == list(chosen)
    assert World().gpu("1") == "1"


def test_a_process_that_is_alone_takes_the_first_gpu_and_says_so(caplog):
    assert World().gpu("2,3") == "2"
    assert "--gpu_ids 2,3: one process uses one GPU" in caplog.text


def test_more_processes_than_gpus_use_none_that_nobody_named():
    worlds = [World(rank, 4, rank) for rank in range(4)]
    assert [world.gpu("4,5") for world in worlds[:2]] == ["4", "5"]
    for world in worlds[2:]:
        with pytest.raises(UserError, match="gpu_ids=4,5: 2 GPUs for at least [34] processes"):
            world.gpu("4,5")


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
def quota(tmp_path, monkeypatch):
    """Return a function that writes the quota of a container, on a machine with eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "QUOTA", tmp_path / "cpu.max")
    return (tmp_path / "cpu.max").write_text


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("max 100000\n", 8),
        ("\n", 8),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(quota, content, cores):
    assert device.available_cores() == 8
    quota(content)
    assert device.available_cores() == cores


def test_pytorch_has_no_more_threads_than_the_quota_grants(quota, monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    quota("250000 100000\n")
    select_device("-1")
    assert chosen == [3]
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    select_device("-1")
    assert chosen == [3], "the user chose"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_for_each_other_sleep_soon_unless_the_user_chose(given, expected):
    script = "import os, person_reid.console; print(os.environ.get('GOMP_SPINCOUNT'))"
    usual = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    environment = {**usual, **importable(), **given}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == expected


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the GNU C library has this setting"
)
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
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    usual, kept = map(int, found.stdout.split())
    assert 4 * kept < usual


@pytest.mark.parametrize("tf32", [True, False])
def test_a_training_on_a_gpu_is_repeatable_and_its_precision_the_users(tf32, monkeypatch):
    matmul, cudnn = SimpleNamespace(), SimpleNamespace()
    monkeypatch.setattr(torch.backends, "cuda", SimpleNamespace(matmul=matmul))
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    device.prepare_training(torch.device("cuda"), tf32)
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic) == (tf32, tf32, True)
    before = vars(matmul).copy(), vars(cudnn).copy()
    with device.process_as_it_was():
        device.choose_backends(torch.device("cuda"), not tf32)
        cudnn.deterministic = False
        torch.set_num_threads((threads := torch.get_num_threads()) + 1)
    assert (vars(matmul), vars(cudnn)) == before
    assert torch.get_num_threads() == threads


def test_a_program_may_set_the_precision_by_the_names_of_newer_pytorch():
    """It then does not read the older ones."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("needs PyTorch 2.9")
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        with device.process_as_it_was():
            matmul.fp32_precision = "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_only_processors_lack_types(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    emulates = device.emulates.__wrapped__
    assert [emulates(torch.device(kind), torch.bfloat16) for kind in ("cuda", "cpu")] == [
        False,
        True,
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("computes", [True, False])
def test_a_type_that_the_processor_lacks_is_not_emulated(dtype, computes, monkeypatch, caplog):
    name = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: computes)
    # An earlier answer does not count.
    monkeypatch.setattr(device, "emulates", device.emulates.__wrapped__)
    monkeypatch.setattr(device, "_tell_of_float32", cache(device._tell_of_float32.__wrapped__))
    for _ in range(2):
        with autocast(torch.device("cpu"), dtype):
            assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == (
                dtype if computes else torch.float32
            )
    assert caplog.text.count(f"--{name}: PyTorch would emulate {dtype}") == (not computes)


@pytest.mark.parametrize(
    ("kind", "padding", "version", "last"),
    [
        ("cpu", 1, "2.6.0", True),
        ("mps", 0, "2.14.1", False),
        ("cuda", 0, "2.6.0", True),
        ("cuda", 1, "2.13.0+cu126", False),
        ("cuda", (0, 1), "2.6.0", False),
        ("cuda", 1, "2.14.0", True),
    ],
)
def test_memory_formats_with_wrong_gradients_are_avoided(kind, padding, version, last, monkeypatch):
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)(version))
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.AvgPool2d(3, 1, padding))
    expected = torch.channels_last if last else torch.contiguous_format
    assert memory_format(torch.device(kind), network) == expected
