"""person_reid/data/decoding.py: the same images and messages from threads and from other processes."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from person_reid.basics import UserError, importable
from person_reid.data import decoding
from person_reid.data.decoding import decode
from person_reid.data.images import load_image
from tests.data.conftest import noise

LOAD = partial(load_image, height=32, width=16)


@pytest.fixture(params=["threads", "processes"])
def way(request, monkeypatch):
    monkeypatch.setattr(decoding, "available_cores", lambda: 4)
    monkeypatch.setattr(decoding, "MANY_IMAGES", 0 if request.param == "processes" else 1000)
    return request.param


@pytest.fixture
def started(monkeypatch):
    """The decoding processes that were started."""
    processes = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return processes


@pytest.fixture
def photographs(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.fromarray(noise(40 + i, 20, seed=i)).save(path)
    return paths


def test_images_come_in_order(photographs, way):
    found = list(decode(photographs, LOAD))
    assert np.array_equal(found, [LOAD(path) for path in photographs])
    assert list(decode([], LOAD)) == []


def test_all_that_fail_are_named_once(photographs, way):
    photographs[3].write_bytes(b"nothing")
    photographs[30].unlink()
    found = decode(photographs, LOAD)
    assert np.array_equal([next(found) for _ in range(3)], [LOAD(path) for path in photographs[:3]])
    with pytest.raises(UserError, match=r"(?s)2 of 40 images.*3\.png: not an image.*30\.png: No such file"):
        next(found)


def test_only_so_many_images_are_decoded_ahead(monkeypatch):
    monkeypatch.setattr(decoding, "AHEAD", 3)
    begun = []

    def load(number):
        begun.append(number)
        return number

    images = decode(range(20), load)
    assert [next(images) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(begun) <= 5 + 3
    images.close()


def test_few_images_or_cores_need_no_process(photographs, started, monkeypatch):
    monkeypatch.setattr(decoding, "available_cores", lambda: 8)
    list(decode(photographs, LOAD))
    monkeypatch.setattr(decoding, "MANY_IMAGES", 0)
    list(decode(photographs, lambda path: LOAD(path)))
    monkeypatch.setattr(decoding, "available_cores", lambda: 2)
    list(decode(photographs, LOAD))
    assert not started


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_no_process_outlives_the_images(photographs, way, started):
    images = decode(photographs, LOAD)
    next(images)
    assert len(started) == 4 and all(process.poll() is None for process in started)
    images.close()
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_processes_that_die_or_cannot_start_cost_no_image(photographs, way, started, monkeypatch):
    images = decode(photographs * 20, LOAD)
    found = [next(images)]
    for process in started:
        process.kill()
    assert len(found + list(images)) == 800
    for program in ("true", "no such program"):
        monkeypatch.setattr(sys, "executable", program)
        assert np.array_equal(list(decode(photographs, LOAD)), [LOAD(path) for path in photographs])


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_a_large_image_is_decoded_in_this_process(photographs, way, monkeypatch):
    """There, only one is at a time."""
    here = []

    def attempt(load, source):
        here.append(source)
        return load(source)

    monkeypatch.setattr(decoding, "_attempt", attempt)
    Image.new("1", (2001, 2000)).save(photographs[7])
    assert len(list(decode(photographs, LOAD))) == 40
    assert here == [photographs[7]]


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_a_file_in_the_working_folder_is_not_taken_for_a_module(photographs, way, here, monkeypatch, capfd):
    (here / "pickle.py").write_text("raise RuntimeError")
    monkeypatch.setattr(decoding, "_attempt", None)  # here, and not in the other processes
    assert len(list(decode(photographs, LOAD))) == 40
    assert not capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_processes_end_with_the_program(photographs, kill):
    script = f"""
import sys, time
from person_reid.data import decoding
from functools import partial
from person_reid.data.images import load_image
decoding.available_cores, decoding.MANY_IMAGES = (lambda: 4), 0
for image in decoding.decode({[str(path) for path in photographs]}, partial(load_image, height=32, width=16)):
    print("begun", flush=True)
    time.sleep(60)
"""
    program = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | importable(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert program.stdout.readline() == b"begun\n"
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    assert len(children) == 4
    program.send_signal(kill)
    program.wait()
    program.stdout.close()
    deadline = time.monotonic() + 20
    while (left := [child for child in children if alive(child)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
