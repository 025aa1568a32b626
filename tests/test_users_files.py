"""A user's file is read only if it is a regular file of a plausible size.

Every reader is given a pipe, which would be waited for, a link to a device that never ends, a
folder, and a file that is far too large. It answers in one line that names the file.
"""

import hashlib
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from person_reid.config import zoo
from person_reid.data.cuhk03 import read_new_protocol
from person_reid.data.images.image_files import PREPARED_RECORD, load_image
from person_reid.data.leakage import same_files
from person_reid.data.matlab import open_hdf5, read_integers
from person_reid.data.own.corrections import read_list
from person_reid.data.own.csv_tables import read_table
from person_reid.data.prepare import read_record
from person_reid.data.readers import read_lines
from person_reid.data.video.frames import FrameFolder, Video
from person_reid.data.video.track_files import read_boxes
from person_reid.deploy.engine import Engine
from person_reid.deploy.pretrained import open_pretrained
from person_reid.deploy.publish import check_output
from person_reid.errors import UserError
from person_reid.files import checksum_of, content_of, read_json_lines, regular_file, text_of
from person_reid.gallery.index import SearchIndex
from person_reid.models.published.hub import weight_file
from person_reid.models.weight_files import read_state_dict
from person_reid.retrieval.association import read_travel
from person_reid.retrieval.results import load_result
from person_reid.retrieval.thresholds import load_bound, load_threshold
from person_reid.run_folder import read_history, read_yaml
from person_reid.synthetic.dataset import MANIFEST, claim

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
PATIENCE = 10  # seconds
NAME = "osnet_x0_25_msmt17"


def named(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A reader that is given the folder in which the file has a certain name."""
    return lambda file: read(file.rename(file.with_name(name)).parent)


def published(folder: Path) -> object:
    """A published network, whose file is in the folder of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "folder", lambda: folder)
        return read_state_dict(weight_file(NAME))


def frames(folder: Path) -> object:
    (folder / "000001.jpg").touch()
    return FrameFolder(folder)


READERS: dict[str, Callable[[Path], object]] = {
    "bytes": content_of,
    "text": text_of,
    "a checksum": checksum_of,
    "a table": lambda file: read_table(file, ("path",)),
    "travel times": lambda file: read_travel(file, ["1", "2"]),
    "corrections": lambda file: read_list(file, {}),
    "a list of a download": read_lines,
    "JSON lines": read_json_lines,
    "the log of a run": read_history,
    "options": read_yaml,
    "a threshold": load_threshold,
    "a bound": load_bound,
    "tracks": read_boxes,
    "a video": Video,
    "the notes of a sequence": named("seqinfo.ini", frames),
    "an image": lambda file: load_image(file, 8, 4),
    "an image that is compared": lambda file: same_files([file], [file]),
    "weights": read_state_dict,
    "safetensors": named("model.safetensors", read_state_dict),
    "published weights": named(zoo.published_network(NAME).file_names[0], published),
    "an exported network": lambda file: Engine(file, kind="onnx"),
    "features": load_result,
    "a matrix": lambda file: read_integers(file, "query"),
    "HDF5": open_hdf5,
    "CUHK03": named("cuhk-03.mat", partial(read_new_protocol, kind="detected")),
    "the network of a folder": named("config.json", open_pretrained),
    "what is replaced": named("config.json", check_output),
    "the record of a layout": named(PREPARED_RECORD, read_record),
    "what is drawn": named(MANIFEST, lambda folder: claim(folder, {})),
    "an index": SearchIndex,
}
HANDS_ON_FOLDERS = ("tracks", "weights", "a threshold", "a bound")  # which may be folders
OF_ANY_SIZE = ("a video", "an index")


@pytest.fixture(autouse=True)
def impatience():
    """Ends a test that waits for ever."""

    def stop(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(reader: str, file: Path) -> str:
    with pytest.raises((UserError, OSError)) as error:
        READERS[reader](file)
    message = str(error.value)
    assert "\n" not in message
    assert str(file.parent) in message
    return message


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "file")
    assert "a pipe; expected" in refusal(reader, tmp_path / "file")


@pytest.mark.parametrize("reader", READERS)
def test_a_link_to_a_device_is_not_followed_for_ever(reader, tmp_path):
    (tmp_path / "file").symlink_to("/dev/zero")
    assert "a device; expected" in refusal(reader, tmp_path / "file")


@pytest.mark.parametrize("reader", [each for each in READERS if each not in HANDS_ON_FOLDERS])
def test_a_folder_is_named(reader, tmp_path):
    (tmp_path / "file").mkdir()
    assert "a folder; expected" in refusal(reader, tmp_path / "file")


@pytest.mark.parametrize("reader", [each for each in READERS if each not in OF_ANY_SIZE])
def test_a_file_that_is_far_too_large_is_not_read(reader, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(300 * 10**9)  # which takes no space
    assert "300,000,000,000 bytes; expected" in refusal(reader, tmp_path / "file")


def test_weights_of_a_folder_are_no_device(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not written by save_pretrained"):
        open_pretrained(tmp_path)


def test_a_regular_file_of_its_size_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\n")
    assert regular_file(tmp_path / "file", most=10) == tmp_path / "file"
    assert text_of(tmp_path / "file") == "café\r\n"
    with pytest.raises(UserError, match="10 bytes; expected a file of at most 9 bytes"):
        content_of(tmp_path / "file", most=9)


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "file").write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match="file: not text in UTF-8"):
        text_of(tmp_path / "file")


def test_a_checksum_is_that_of_the_whole_content(tmp_path):
    content = np.random.default_rng(0).bytes(3 * 2**20 + 5)
    (tmp_path / "file").write_bytes(content)
    assert checksum_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
