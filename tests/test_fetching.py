"""A file is downloaded whole or not at all, and is the published one."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from person_reid import fetching
from person_reid.fetching import fetch_file

CONTENT = bytes(range(256)) * 9000  # three blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Files(BaseHTTPRequestHandler):
    """A server with one file; it breaks off in the middle of /short."""

    def do_GET(self):
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-1] if self.path == "/short" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_arrives_whole_in_a_folder_that_is_made(server, tmp_path):
    fetch_file(f"{server}/file", tmp_path / "weights" / "net.bin", SHA256)
    assert (tmp_path / "weights" / "net.bin").read_bytes() == CONTENT
    assert [*tmp_path.rglob("*.partial")] == []


@pytest.mark.parametrize(
    ("path", "checksum", "reason"),
    [
        ("/short", "", "2,303,999 of 2,304,000 bytes arrived"),
        ("/file", "0" * 64, "SHA-256 begins with .{8}, expected 00000000"),
        ("/file", "0" * 96, "SHA-384 begins with .{8}, expected 00000000"),
        ("/missing", "", "404"),
    ],
)
def test_what_does_not_arrive_as_published_leaves_the_old_file(
    server, tmp_path, path, checksum, reason
):
    target = tmp_path / "net.bin"
    target.write_bytes(b"old")
    with pytest.raises((OSError, ValueError), match=reason):
        fetch_file(server + path, target, checksum)
    assert target.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_an_interruption_at_any_block_leaves_nothing(server, tmp_path, blocks, monkeypatch):
    class Interrupted:
        total, left = None, blocks

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "progress", lambda **_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        fetch_file(f"{server}/file", tmp_path / "net.bin")
    assert [*tmp_path.iterdir()] == []
