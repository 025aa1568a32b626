"""person_reid/data/images/bank.py: a cache that never lies and never breaks.

The pixels are in test_bank_images.py.
"""

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from person_reid.data.images import bank as bank_module
from person_reid.data.images.bank import bank_fits, fingerprint, load_bank
from person_reid.data.images.image_files import load_image
from person_reid.errors import UserError
from person_reid.files import ABANDONED
from tests.data.conftest import noise
from tests.support import ROOT


@pytest.fixture
def photographs(tmp_path):
    """Six images of different sizes in <tmp>/query/<identity>/."""
    paths = []
    for i in range(6):
        folder = tmp_path / "query" / f"{i // 2:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"{i // 2:04d}_c{i % 2 + 1}.png")
        Image.fromarray(noise(40 + 3 * i, 20 + i, seed=i)).save(paths[-1])
    return paths


def test_bank_keeps_the_order_with_and_without_a_cache(tmp_path, photographs, monkeypatch):
    monkeypatch.setattr("person_reid.data.images.image_decoding.AHEAD", 4)
    expected = np.stack([load_image(path, 32, 16) for path in photographs])
    in_memory = load_bank(photographs, 32, 16)
    assert in_memory.dtype == torch.uint8
    assert in_memory.shape == (6, 32, 16, 3)
    assert np.array_equal(in_memory.numpy(), expected)
    for _ in range(2):
        assert np.array_equal(
            load_bank(photographs, 32, 16, tmp_path / ".cache", "query").numpy(), expected
        )
    assert load_bank([], 32, 16, tmp_path / ".cache").shape == (0, 32, 16, 3)


def test_second_call_opens_the_file_and_decodes_nothing(tmp_path, photographs, monkeypatch):
    first = load_bank(photographs, 32, 16, tmp_path / ".cache", "query")
    monkeypatch.setattr(bank_module, "load_image", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = load_bank(photographs, 32, 16, tmp_path / ".cache", "query")
    assert torch.equal(first, second)
    second.zero_()  # in memory alone
    assert torch.equal(load_bank(photographs, 32, 16, tmp_path / ".cache", "query"), first)


def test_replaced_image_makes_a_new_cache_and_removes_the_stale_one(tmp_path, photographs):
    cache = tmp_path / ".cache"
    load_bank(photographs, 32, 16, cache, "query")
    others = [
        load_bank(photographs, 16, 8, cache, "query"),
        load_bank(photographs, 32, 16, cache, "query_b"),
    ]
    stale = next(cache.glob("query_32x16_*.npy"))
    Image.fromarray(noise(40, 20, seed=99)).save(photographs[0])
    changed = load_bank(photographs, 32, 16, cache, "query")
    assert np.array_equal(changed[0].numpy(), load_image(photographs[0], 32, 16))
    assert not stale.exists()
    assert len(others) == 2
    assert len(list(cache.iterdir())) == 3


def test_fingerprint_sees_names_sizes_times_and_order(tmp_path, photographs):
    before = fingerprint(photographs)
    assert fingerprint(photographs) == before
    assert fingerprint(photographs[::-1]) != before
    assert fingerprint(photographs[:-1]) != before
    os.utime(photographs[0], ns=(1, 1))
    touched = fingerprint(photographs)
    assert touched != before
    photographs[0].unlink()
    assert fingerprint(photographs) not in (before, touched)


def test_moved_data_set_keeps_its_cache(tmp_path, photographs):
    moved = tmp_path / "elsewhere"
    before = fingerprint(photographs)
    (tmp_path / "query").rename(moved.parent / "b")
    moved.mkdir()
    (moved.parent / "b").rename(moved / "query")
    assert fingerprint([moved / path.relative_to(tmp_path) for path in photographs]) == before


def test_unreadable_images_are_named_all_at_once(tmp_path, photographs):
    whole = photographs[1].read_bytes()
    photographs[1].write_bytes(whole[: len(whole) // 2])
    photographs[3].write_text("no image")
    photographs[4].write_bytes(b"")
    photographs[5].unlink()
    cache = tmp_path / ".cache"
    for folder in (None, cache):
        with pytest.raises(UserError, match="4 of 6 images") as error:
            load_bank(photographs, 32, 16, folder, "query")
        lines = str(error.value).splitlines()[1:]
        assert [line.strip().split(": ")[0] for line in lines] == [
            str(photographs[i]) for i in (1, 3, 4, 5)
        ]
        assert "truncated" in lines[0]
        assert "not an image" in lines[1]
        assert "No such file" in lines[3]
    assert list(cache.iterdir()) == []


def test_many_unreadable_images_are_counted(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(60)]
    with pytest.raises(UserError, match="60 of 60") as error:
        load_bank(paths, 32, 16)
    assert len(str(error.value).splitlines()) == 52
    assert "and 10 more" in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "other shape"])
def test_damaged_cache_is_made_again(tmp_path, photographs, damage):
    expected = load_bank(photographs, 32, 16, tmp_path, "query").clone()
    file = next(tmp_path.glob("*.npy"))
    content = {"truncated": file.read_bytes()[:-7], "empty": b"", "garbage": b"no array at all"}
    if damage == "other shape":
        np.save(file, np.zeros((6, 16, 16, 3), np.uint8))
    else:
        file.write_bytes(content[damage])
    assert torch.equal(load_bank(photographs, 32, 16, tmp_path, "query"), expected)
    assert np.array_equal(np.load(file), expected.numpy())


def test_folder_that_cannot_be_written_leaves_the_bank_in_memory(tmp_path, photographs, capsys):
    (tmp_path / "file").write_text("in the way")
    bank = load_bank(photographs, 32, 16, tmp_path / "file" / ".cache", "query")
    assert torch.equal(bank, load_bank(photographs, 32, 16))
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no cache" in message
    assert "query" in message


@pytest.mark.skipif(
    sys.platform == "win32", reason="limits the size of files, as a full disk would"
)
def test_full_disk_leaves_the_bank_in_memory(tmp_path, photographs, capsys):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        bank = load_bank(photographs, 32, 16, tmp_path / ".cache", "query")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(bank, load_bank(photographs, 32, 16))
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no cache" in message
    assert "query" in message
    assert list((tmp_path / ".cache").iterdir()) == []


def test_cache_finished_by_another_process_is_used_where_ours_failed(
    tmp_path, photographs, monkeypatch
):
    expected = load_bank(photographs, 32, 16)
    write = bank_module.atomic_write

    @contextmanager
    def fail_after_another_finished(file):
        with write(file) as temporary:
            yield temporary
        monkeypatch.setattr(bank_module, "load_image", None)
        raise PermissionError(13, "in use", "query.npy")

    monkeypatch.setattr(bank_module, "atomic_write", fail_after_another_finished)
    assert torch.equal(load_bank(photographs, 32, 16, tmp_path / ".cache", "query"), expected)


def test_a_file_that_another_process_is_writing_stays(tmp_path, photographs):
    (tmp_path / ".cache").mkdir()
    being_written = tmp_path / ".cache" / ".query_32x16_0123456789abcdef.npy.1.partial"
    being_written.touch()
    load_bank(photographs, 32, 16, tmp_path / ".cache", "query")
    assert being_written.exists()


def test_a_disk_that_fills_up_on_the_way_costs_the_cache_alone(
    tmp_path, photographs, monkeypatch, capsys
):
    expected = load_bank(photographs, 32, 16)

    @contextmanager
    def full(file):
        yield Path("/dev/full")

    monkeypatch.setattr(bank_module, "atomic_write", full)
    assert torch.equal(load_bank(photographs, 32, 16, tmp_path, "query"), expected)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "No space left" in message
    assert "query" in message


def test_whatever_a_decoder_fails_with_is_named(photographs, monkeypatch):
    """Memory, a decompression bomb, an assertion deep in a plug-in: each costs its own image."""
    failures = dict(
        zip(
            photographs,
            [MemoryError(), Image.DecompressionBombError("bomb"), AssertionError],
            strict=False,
        )
    )

    def load(path, **size):
        if path in failures:
            raise failures[path]
        return load_image(path, **size)

    monkeypatch.setattr(bank_module, "load_image", load)
    with pytest.raises(UserError, match="(?s)3 of 6 images.*MemoryError.*bomb.*AssertionError"):
        load_bank(photographs, 32, 16)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_while_writing_leaves_no_broken_cache(tmp_path, photographs):
    script = f"""
import sys, time
from pathlib import Path
import person_reid.data.images.bank as bank
import person_reid.data.images.image_decoding as decoding
load, decoding.AHEAD = bank.load_image, 2
bank.load_image = lambda path, **size: time.sleep(0.2) or load(path, **size)
bank.load_bank({[str(path) for path in photographs]!r} * 50, 32, 16,
    Path({str(tmp_path)!r}) / ".cache", "query")
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".cache/.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (partial,) = (tmp_path / ".cache").iterdir()
    assert partial.suffix == ".partial"
    os.utime(partial, times=(time.time() - ABANDONED - 1,) * 2)
    bank = load_bank(photographs, 32, 16, tmp_path / ".cache", "query")
    assert torch.equal(bank, load_bank(photographs, 32, 16))
    assert [path.suffix for path in (tmp_path / ".cache").iterdir()] == [".npy"]


@pytest.mark.parametrize(
    ("images", "gigabytes", "fits"), [(20_000, 8, True), (20_000, 3, False), (22_000, 64, False)]
)
def test_apples_gpu_holds_a_bank_that_it_has_memory_for_and_can_count(
    images, gigabytes, fits, monkeypatch
):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: (gigabytes + 1) * 10**9)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 10**9)
    bank = torch.empty(images, 256, 128, 3, dtype=torch.uint8, device="meta")
    assert bank_fits(bank, torch.device("mps")) is fits
