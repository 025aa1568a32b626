"""Full disks, files with untrue statements about themselves, and arguments of the wrong kind."""

import json
import subprocess
import sys
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from person_reid.deploy.embedder import Embedder
from person_reid.deploy.engine import Engine
from person_reid.deploy.export import export
from person_reid.deploy.exported_files import CONTENTS_KEY, Contents
from person_reid.errors import UserError
from person_reid.models.network import Network
from tests.support import ROOT

FULL_DISK = """
import resource, sys
from person_reid.deploy.export import export
from person_reid.deploy.exported_files import Contents
from person_reid.config.tested import EXPORT_FORMATS
from person_reid.models.factory import create_model
network = create_model("test_resnet", weights="none", size=(64, 32))
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
for suffix in sys.argv[2:]:
    try:
        export(network, Contents(64, 32, network.dim), f"{sys.argv[1]}/net{suffix}",
            EXPORT_FORMATS[suffix])
    except OSError as error:
        print(error.filename, error.strerror)
"""
BANK = torch.zeros(3, 64, 32, 3, dtype=torch.uint8)


class Flat(nn.Module):
    """(B, 3, 64, 32) → (B, 8)."""

    def forward(self, images):
        return images.reshape(-1, 3 * 64 * 32)[:, :8] + 1


def written(path, **entries):
    """A TorchScript file of Flat that states `entries` about itself.

    None leaves an entry out.
    """
    about = json.loads(Contents(64, 32, 8).to_json()) | entries
    text = json.dumps({name: value for name, value in about.items() if value is not None})
    traced = torch.jit.trace(Flat(), torch.zeros(2, 3, 64, 32), check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={CONTENTS_KEY: text})
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits there")
@pytest.mark.slow
@pytest.mark.parametrize("suffixes", [[".pt", ".pt2"], [".onnx"]], ids=str)
def test_a_full_disk_is_named_and_leaves_nothing(suffixes, tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path, *suffixes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    expected = [f"{tmp_path}/net{suffix} File too large" for suffix in suffixes]
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["torchscript", "export"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path, kind):
    path = tmp_path / ("long" * 100)  # no permission is needed to name it, and root has every one
    with pytest.raises(OSError, match="name too long") as error:
        export(cast(Network, "no network at all"), Contents(64, 32, 8), path, kind)
    assert error.value.filename == str(path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"height": "64"}, "height '64', expected a value of type int"),
        ({"flip": 1}, "flip 1, expected a value of type bool"),
        ({"source": ["x"]}, r"source \['x'\], expected a value of type str"),
        ({"dim": True}, "dim True, expected a value of type int"),
        ({"dim": None}, "missing 1 required positional argument: 'dim'"),
        ({"height": 10**9}, "says 1000000000 x 32 pixels"),
        ({"width": 0}, "says 64 x 0 pixels"),
        ({"width": 10**9}, "says 64 x 1000000000 pixels"),
        ({"up_to": 2}, "says values from 0 to 2"),
        ({"dim": 0}, "width 0 in 1 pieces"),
        ({"pieces": 3}, "width 8 in 3 pieces"),
    ],
)
def test_descriptions_that_cannot_be_true_are_refused(tmp_path, entries, words):
    with pytest.raises(
        UserError,
        match=rf"net\.pt: not a network written by tools/export\.py, or damaged \(.*{words}",
    ):
        Engine(written(tmp_path / "net.pt", **entries))


def test_a_description_that_is_no_list_of_entries_is_refused():
    for text in ("[1]", "3", '"text"', "null"):
        with pytest.raises(ValueError, match="its description is"):
            Contents.from_json(text)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            {"dim": 16},
            r"gives \(3, 8\) for 3 images, but says that its features have 16 dimensions",
        ),
        ({"height": 32}, r"gives \(1, 8\) for 3 images|fails on images \(3, 3, 32, 32\)"),
        (
            {"height": 63},
            r"fails on images \(3, 3, 63, 32\), although it declares that size \(.*Export the",
        ),
    ],
)
def test_descriptions_that_are_not_true_are_named(tmp_path, entries, words):
    engine = Engine(written(tmp_path / "net.pt", **entries))
    with pytest.raises(UserError, match=rf"net\.pt: ({words})"):
        engine.features(BANK[:, : engine.contents.height], flip=False)


def test_an_honest_description_is_believed(tmp_path):
    np.testing.assert_allclose(
        np.linalg.norm(Engine(written(tmp_path / "net.pt")).features(BANK), axis=1), 1, 1e-5
    )


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        ("net.pt", {"device": "abacus"}, "device 'abacus' cannot be used here"),
        ("net.pt", {"device": "meta"}, "device 'meta' cannot be used here"),
        ("net.pt", {"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ("net.pt", {"device": []}, r"device \[\] cannot be used here"),
    ],
)
def test_devices_that_cannot_be_used_are_named(tmp_path, monkeypatch, source, settings, words):
    monkeypatch.chdir(written(tmp_path / "net.pt").parent)
    with pytest.raises(UserError, match=words):
        Embedder(source, **settings)
