"""person_reid/data/decoding.py, decoder.py: the same images and messages from threads and from other processes."""

import errno
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from person_reid.basics import UserError, importable
from person_reid.data import decoder, decoding
from person_reid.data.decoding import decode
from person_reid.data.images import load_image
from tests.data.conftest import noise

LOAD = partial(load_image, height=32, width=16)


@pytest.fixture(params=["threads", "processes"])
def way(request, monkeypatch):
    monkeypatch.setattr(decoding, "available_cores", lambda: 4)
    monkeypatch.setattr(decoding, "MANY_IMAGES", 0 if request.param == "processes" else 1000)
    monkeypatch.setattr(decoding, "SLOW", math.inf)  # on a busy machine, images seem to come slowly
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


def test_images_that_come_slowly_have_more_threads(photographs, started, monkeypatch):
    monkeypatch.setattr(decoding, "available_cores", lambda: 4)
    monkeypatch.setattr(decoding, "MANY_IMAGES", 0)
    at_once, most, lock = 0, [], threading.Lock()

    def load(path, wait):
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
        time.sleep(wait)
        with lock:
            at_once -= 1
        return LOAD(path)

    slow = list(decode(photographs * 3, partial(load, wait=0.1)))
    assert max(most) > 10 and not started
    assert np.array_equal(slow, [LOAD(path) for path in photographs * 3])


def test_one_image_that_comes_late_is_no_sign_of_a_slow_disk(photographs, started, monkeypatch):
    monkeypatch.setattr(decoding, "available_cores", lambda: 4)
    monkeypatch.setattr(decoding, "MANY_IMAGES", 0)
    monkeypatch.setattr(decoding, "SLOW", 30)  # far above what a busy machine adds

    def load(path):
        time.sleep(0.2 * (path == photographs[2]))
        return LOAD(path)

    assert len(list(decode(photographs, partial(load)))) == 40
    assert len(started) == 4


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

    monkeypatch.setattr(decoder, "attempt", attempt)
    Image.new("1", (2001, 2000)).save(photographs[7])
    assert len(list(decode(photographs, LOAD))) == 40
    assert here == [photographs[7]]


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_a_file_in_the_working_folder_is_not_taken_for_a_module(photographs, way, here, caplog, capfd):
    (here / "pickle.py").write_text("raise RuntimeError")
    assert len(list(decode(photographs, LOAD))) == 40
    assert not caplog.text and not capfd.readouterr().err


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_paths_that_cannot_be_sent_are_read_here(photographs, way, caplog, capfd):
    class Text(str):
        pass

    expected = [LOAD(path) for path in photographs]
    assert np.array_equal(list(decode([Text(path) for path in photographs], LOAD)), expected)
    assert "4 of 4 processes that decode images failed (Can't" in caplog.text
    Text.__qualname__ = "Text"
    Text.__module__ = "sys"  # of this process
    with patch.object(sys, "Text", Text, create=True):
        assert np.array_equal(list(decode([Text(path) for path in photographs], LOAD)), expected)
    assert "4 of 4 processes that decode images failed (ended early)" in caplog.text
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_what_else_a_process_writes_is_not_taken_for_an_image(photographs, way, tmp_path, monkeypatch):
    """A late answer would be taken for that to the next question."""
    (tmp_path / "sitecustomize.py").write_text("print('K', end='', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert np.array_equal(list(decode(photographs * 20, LOAD)), [LOAD(path) for path in photographs] * 20)


@pytest.mark.parametrize("filters", ["", "default"])
def test_an_image_gives_one_warning(photographs, way, capfd, filters, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", filters)
    for path in photographs:
        cut_exif(path)
    with pytest.warns(UserWarning) as shown:
        assert len(list(decode(photographs, LOAD))) == 40
    assert [str(warning.message) for warning in shown] == [complaint(path) for path in photographs]
    assert not capfd.readouterr().err


def test_a_warning_that_is_an_error_is_one(photographs, way):
    cut_exif(photographs[3])
    said = complaint(photographs[3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=rf"(?s)1 of 40 images.*3\.png: {re.escape(said)}"):
            list(decode(photographs, LOAD))


def complaint(path):
    """Return the one warning that Pillow gives for an image; its words depend on the version."""
    with pytest.warns(UserWarning, match="Tag data larger than file|Truncated File Read") as shown:
        LOAD(path)
    assert len(shown) == 1
    return str(shown[0].message)


def cut_exif(path):
    """Write an image whose EXIF data promises 255 characters that are not there."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xff\0\0\0\0\0\0\0"
    Image.new("RGB", (20, 40)).save(path, "JPEG", exif=exif)


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_threads_decode_where_not_all_processes_may_be_started(photographs, way, started, monkeypatch):
    class Limited(subprocess.Popen):
        def __init__(self, *arguments, **named):
            if len(started) == 3:
                raise OSError(errno.EMFILE, "Too many open files")
            super().__init__(*arguments, **named)

    monkeypatch.setattr(subprocess, "Popen", Limited)
    images = decode(photographs, LOAD)
    assert np.array_equal(next(images), LOAD(photographs[0]))
    assert len(started) == 3 and all(process.poll() is not None for process in started)
    assert len(list(images)) == 39


@pytest.mark.parametrize("way", ["processes"], indirect=True)
def test_a_packed_program_does_not_start_itself(photographs, way, started, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert len(list(decode(photographs, LOAD))) == 40
    monkeypatch.delattr(sys, "frozen")
    monkeypatch.setattr(sys, "executable", None)
    assert len(list(decode(photographs, LOAD))) == 40
    assert not started


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_processes_end_with_the_program(photographs, kill):
    script = f"""
import sys, time
from person_reid.data import decoding
from functools import partial
from person_reid.data.images import load_image
decoding.available_cores, decoding.MANY_IMAGES, decoding.SLOW = (lambda: 4), 0, float("inf")
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
