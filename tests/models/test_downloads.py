"""Published networks of two files: both are downloaded once and whole, or neither counts."""

import hashlib
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from person_reid.config.zoo import folder, zoo
from person_reid.models.published import hub

NAME = "intel_0288"  # a network of two files
# Downloads the network, and kills itself at a certain write into the folder of weights.
KILLED = """
import os, sys
from dataclasses import replace
from person_reid.config.zoo import folder, zoo
from person_reid.models.published import hub

writes, place = int(sys.argv[1]), str(folder())

def count(event, arguments):
    global writes
    if event in ("open", "os.rename", "os.remove") and place in str(arguments):
        writes -= 1
        if writes < 0:
            os._exit(9)

checksum = " ".join(sys.argv[3:])
entry = replace(zoo()["intel_0288"], file="net.xml", at=sys.argv[2], checksum=checksum)
hub.published_network = lambda weights: entry
sys.addaudithook(count)
hub.weight_file("intel_0288")
"""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Return the address of a server of two files, and their checksums; nothing is downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    contents = {"net.bin": b"\0\1" * 99999, "net.xml": b"<net/>" * 999}
    (tmp_path / "served").mkdir()
    for name, content in contents.items():
        (tmp_path / "served" / name).write_bytes(content)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/net.xml"
        yield address, [hashlib.sha384(content).hexdigest() for content in contents.values()]
        server.shutdown()


def use(monkeypatch, address, checksums):
    entry = replace(zoo()[NAME], file="net.xml", at=address, checksum=" ".join(checksums))
    monkeypatch.setattr(hub, "published_network", lambda weights: entry)
    return entry


def test_both_files_of_a_network_are_downloaded_once(served, monkeypatch, tmp_path):
    use(monkeypatch, *served)
    file = hub.weight_file(NAME)
    assert file == folder() / f"{NAME}.xml"
    for ending in (".xml", ".bin"):
        original = (tmp_path / "served" / "net.xml").with_suffix(ending)
        assert file.with_suffix(ending).read_bytes() == original.read_bytes()
        original.unlink()
    assert hub.weight_file(NAME) == file
    assert len(list(folder().iterdir())) == 2


def test_a_process_killed_at_any_write_leaves_no_part_of_a_network(served, monkeypatch, tmp_path):
    entry = use(monkeypatch, *served)
    for writes in range(99):
        words = [sys.executable, "-c", KILLED, str(writes), served[0], *served[1]]
        process = subprocess.run(words, capture_output=True, text=True, check=False)
        if process.returncode == 0:
            break
        assert process.returncode == 9, process.stderr
        if file := entry.local:
            for ending in (".xml", ".bin"):
                whole = (tmp_path / "served" / "net.xml").with_suffix(ending).read_bytes()
                assert file.with_suffix(ending).read_bytes() == whole
    assert 4 < writes < 99
    assert entry.local
