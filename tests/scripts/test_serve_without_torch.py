"""The service runs with the packages that its page lists for a machine without PyTorch."""

import os
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from person_reid import Embedder, SearchIndex, UserError
from person_reid.deploy.onnx_embedder import OnnxEmbedder
from tests.scripts.test_serve import PAGE
from tests.support import ROOT
from tests.support.flags import SMALLEST
from tests.support.packages import block_all_but
from tests.support.service import serving
from tools import export

httpx = pytest.importorskip("httpx")
pytest.importorskip("onnxruntime")


def listed_packages():
    """The names of the packages on the page, and of those that they need, in lower case."""
    needed = {"anyio", "click", "h11", "idna", "typing_extensions", "packaging"}
    command = re.search(r"pip install (faiss-cpu .*?)\n```", PAGE, re.DOTALL)
    assert command
    listed = command[1].replace("\\", "").split()
    return {name.lower().replace("-", "_") for name in listed} | needed


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export.main([*SMALLEST, "--normalise_input", "--output", str(path)])
    return path


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 16, 3), np.uint8)


@pytest.mark.parametrize("options", [{}, {"flip": False}])
def test_features_are_those_of_an_embedder(exported, options):
    plain = OnnxEmbedder(exported, **options)
    full = Embedder(exported, device="cpu", **options)
    assert (plain.size, plain.dim) == (full.size, full.dim)
    images = pictures(40)
    np.testing.assert_allclose(plain.features(images), full(list(images)), atol=1e-6)
    np.testing.assert_allclose(plain.probe(), full.probe(), atol=1e-6)


def test_files_that_need_pytorch_are_refused(tmp_path):
    export.main([*SMALLEST, "--output", str(tmp_path / "plain.onnx")])
    with pytest.raises(UserError, match="--normalise_input"):
        OnnxEmbedder(tmp_path / "plain.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="or damaged"):
        OnnxEmbedder(tmp_path / "broken.onnx")


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_the_packages_of_the_page_are_enough(exported, tmp_path):
    blocked = block_all_but(listed_packages(), tmp_path)
    assert {"torch", "torchvision", "timm", "matplotlib"} <= blocked
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    path = f"{tmp_path}:{ROOT}"
    with serving(tmp_path, "--engine", exported, errors=subprocess.STDOUT, PYTHONPATH=path) as (
        service,
        address,
    ):
        (token,) = re.findall(r"#token=(\S+)", service.stdout.readline())
        headers = {"Authorization": f"Bearer {token}"}
        image = (tmp_path / "a.png").read_bytes()
        for operation in ("images?identity=Anna", "search"):
            answer = httpx.post(
                f"{address}/v1/{operation}", headers=headers, files={"image": image}, timeout=60
            )
            assert answer.status_code == 200, answer.text
        assert "<h1>" in httpx.get(address).text
        (query,) = answer.json()["queries"]
        assert query["matches"][0]["identity"] == "Anna"
    with pytest.raises(UserError, match="other flags|another network"):
        SearchIndex(tmp_path / "people.index", network=Embedder(exported, device="cpu", flip=False))
