"""The programs that compute features on a CPU: they agree with PyTorch, or are not used."""

import logging
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch

from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy import runtimes as module
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.engine import Engine
from person_reid.deploy.export import export
from person_reid.deploy.exported_files import Contents, import_runtime
from person_reid.deploy.find import open_embedder, tested_network
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from tests.support import ROOT

pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
SIZE = (64, 32)
FAST = ("onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def remarks(caplog):
    """What is logged; a test reads .text."""
    caplog.set_level(logging.INFO, "person_reid")
    return caplog


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the weights of a network, and the file that tools/export.py writes for it."""
    folder = tmp_path_factory.mktemp("runtimes")
    torch.manual_seed(0)
    network = create_model("test_resnet", weights="none", size=SIZE).eval()
    torch.save(network.model.state_dict(), folder / "0.pth")
    export(
        network,
        Contents(*SIZE, network.dim, network.pieces, normalised=True),
        folder / "0.onnx",
        "onnx",
    )
    return folder


@pytest.fixture(scope="module")
def bank():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (21, *SIZE, 3), np.uint8))


def words(place):
    """The flags that name the network."""
    return [
        "--backbone",
        "test_resnet",
        "--weights",
        str(place / "0.pth"),
        "--height",
        "64",
        "--width",
        "32",
    ]


def tested(place):
    return tested_network(parse(TestConfig, words(place)))


def embedder(place, runtime=None, **settings):
    return Embedder("test_resnet", place / "0.pth", "cpu", size=SIZE, runtime=runtime, **settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"flip": False, "unit_length": False}, {"scales": (0.65, 1.5)}],
    ids=["default", "one raw view", "two scales"],
)
@pytest.mark.parametrize("runtime", FAST)
def test_every_runtime_gives_the_features_of_pytorch(place, bank, runtime, settings):
    expected = embedder(place, **settings).features(bank)
    fast = embedder(place, runtime, **settings)
    scale = np.abs(expected).max()
    for count in (21, 8, 1):
        np.testing.assert_allclose(fast.features(bank[:count]), expected[:count], atol=1e-4 * scale)
    assert fast.features(bank[:0]).shape == (0, fast.dim) == (0, embedder(place).dim)


def test_openvino_runs_one_batch_at_a_time(place, bank, monkeypatch):
    """Several streams damage the memory of the process, on some processors."""
    real, told = openvino.Core.compile_model, []

    def noting(core, model, device, settings):
        told.append(settings["NUM_STREAMS"])
        return real(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", noting)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        engine = Engine(place / "0.onnx", kind="openvino")
        assert len(engine.features(bank, flip=False)) == 21
    finally:
        torch.set_num_threads(threads)
    assert set(told) == {1}


class TestAuto:
    def test_auto_takes_the_first_runtime_and_leaves_no_file(
        self, place, remarks, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        embedder(place, "auto")
        assert "Features by openvino" in remarks.text
        assert not list(tmp_path.iterdir())

    def test_a_runtime_that_disagrees_is_rejected(self, place, bank, remarks, monkeypatch):
        real = Engine.__call__

        def wrong(engine, images):
            return real(engine, images) * (1.001 if engine.kind == "openvino" else 1)

        monkeypatch.setattr(Engine, "__call__", wrong)
        fast = embedder(place, "auto")
        assert "openvino" in remarks.text
        assert "not used" in remarks.text
        assert "Features by onnxruntime" in remarks.text
        np.testing.assert_allclose(fast.features(bank), embedder(place).features(bank), atol=1e-5)
        with pytest.raises(UserError, match="the features of openvino do not agree with PyTorch's"):
            embedder(place, "openvino")

    def test_nothing_is_installed(self, place, bank, remarks, monkeypatch):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        features = embedder(place, "auto").features(bank)
        np.testing.assert_array_equal(features, embedder(place).features(bank))
        assert (
            "--runtime auto: PyTorch, because no other runtime is installed: python -m pip"
            in remarks.text
        )


class TestPrecision:
    @pytest.mark.usefixtures("half_precision")
    @pytest.mark.parametrize("runtime", ["openvino", "auto"])
    def test_openvino_computes_in_bfloat16(self, place, bank, remarks, runtime):
        lacking("BF16")
        exact = embedder(place).features(bank)
        found = embedder(place, runtime, dtype=torch.bfloat16).features(bank)
        off = re.search(
            r"in bfloat16; they deviate from PyTorch's by (\S+) of their scale", remarks.text
        )
        assert off
        assert 1e-4 < float(off[1]) < 0.1
        assert np.abs(found - exact).max() > 1e-4
        assert (found * exact).sum(1).min() > 0.999
        # float32 gives the same features as before.
        np.testing.assert_allclose(embedder(place, runtime).features(bank), exact, atol=1e-5)

    def test_an_exported_file_computes_in_bfloat16(self, place, bank):
        lacking("BF16")
        found = Embedder(
            place / "0.onnx", device="cpu", runtime="openvino", dtype=torch.bfloat16
        ).features(bank)
        expected = embedder(place, "openvino", dtype=torch.bfloat16).features(bank)
        np.testing.assert_array_equal(found, expected)

    def test_float32_takes_the_place_of_what_pytorch_would_emulate(
        self, place, bank, remarks, monkeypatch
    ):
        monkeypatch.setattr("person_reid.device.emulates", lambda device, dtype: True)
        found = embedder(place, "auto", dtype=torch.bfloat16).features(bank)
        assert "Features by openvino" in remarks.text
        assert "in bfloat16" not in remarks.text
        np.testing.assert_array_equal(found, embedder(place, "openvino").features(bank))

    @pytest.mark.usefixtures("half_precision")
    def test_a_processor_without_half_precision_is_named(self, place, bank, remarks, monkeypatch):
        import openvino

        monkeypatch.setattr(openvino.Core, "get_property", lambda *names: ["FP32"])
        with pytest.raises(
            UserError, match="does not compute in torch.float16 on this processor: leave fp16"
        ):
            embedder(place, "openvino", dtype=torch.float16)
        found = embedder(place, "auto", dtype=torch.bfloat16).features(bank)
        assert (
            "--runtime auto: PyTorch, because OpenVINO does not compute in torch.bfloat16 "
            "on this processor: leave fp16 and bf16 out." in remarks.text
        )
        np.testing.assert_array_equal(found, embedder(place, dtype=torch.bfloat16).features(bank))

    def test_onnx_runtime_takes_the_file_as_it_is(self, place):
        with pytest.raises(UserError, match="runtime=onnxruntime computes in float32"):
            embedder(place, "onnxruntime", dtype=torch.bfloat16)
        with pytest.raises(
            UserError, match=r"its precision was decided when it was written.*runtime=openvino"
        ):
            Embedder(place / "0.onnx", device="cpu", dtype=torch.bfloat16)


def lacking(capability):
    """Skip the test if this processor lacks a capability, in OpenVINO's words."""
    import openvino

    if capability not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip(f"this processor has no {capability}")


class TestMistakes:
    @pytest.mark.parametrize("runtime", FAST)
    def test_a_missing_runtime_names_the_command(self, place, runtime, monkeypatch):
        monkeypatch.setitem(sys.modules, runtime, None)
        with pytest.raises(UserError, match=f"python -m pip install {runtime}"):
            embedder(place, runtime)

    def test_a_gpu_is_refused_by_other_runtimes(self):
        with pytest.raises(
            UserError,
            match="the network runs on cuda:0, which only PyTorch can do here. Leave runtime out",
        ):
            gpu = torch.device("cuda", 0)
            module.fast_engine(lambda: pytest.fail("loaded"), "net", "openvino", gpu)

    def test_an_unknown_runtime_is_refused(self, place):
        with pytest.raises(
            UserError, match="runtime 'tensorflow': expected torch, auto, openvino, onnxruntime"
        ):
            embedder(place, "tensorflow")
        with pytest.raises(SystemExit):
            parse(TestConfig, ["--runtime", "tensorflow"])


def test_an_exported_file_is_run_by_either_and_openvinos_own_by_openvino(place, bank, tmp_path):
    import openvino

    file = place / "0.onnx"
    openvino.save_model(
        openvino.Core().read_model(file), tmp_path / "net.xml", compress_to_fp16=False
    )
    expected = embedder(place).features(bank)
    for path, runtime in (
        (file, None),
        (file, "onnxruntime"),
        (file, "openvino"),
        (tmp_path / "net.xml", None),
    ):
        found = Embedder(path, device="cpu", runtime=runtime).features(bank)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert Engine(tmp_path / "net.xml").contents == Engine(file).contents
    with pytest.raises(
        UserError, match="runtime=onnxruntime does not run this file; openvino does"
    ):
        Embedder(tmp_path / "net.xml", device="cpu", runtime="onnxruntime")
    with pytest.raises(
        UserError, match="runtime=auto does not run this file; onnxruntime or openvino does"
    ):
        Embedder(file, device="cpu", runtime="auto")
    (tmp_path / "net.bin").unlink()
    with pytest.raises(
        UserError, match=r"net\.xml: its weights are in net\.bin, to be copied into the same folder"
    ):
        Engine(tmp_path / "net.xml")
    (tmp_path / "text.xml").write_text("<net/>")
    (tmp_path / "text.bin").touch()
    with pytest.raises(UserError, match="not a network written by tools/export.py, or damaged"):
        Engine(tmp_path / "text.xml")


def test_onnxruntime_is_told_to_report_to_nobody(monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    import_runtime("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_openvino_reports_to_nobody():
    code = """
import sys, time
from person_reid.deploy.exported_files import import_runtime
sys.addaudithook(lambda event, _: print(event, flush=True)
    if event in ("socket.connect", "os.fork") else None)
import_runtime("openvino").Core()
time.sleep(0.5)
assert sys.modules["openvino_telemetry"] is None
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_flag_reaches_the_network(place, remarks):
    options = parse(TestConfig, [*words(place), "--gpu_ids", "-1", "--runtime", "onnxruntime"])
    open_embedder(options)
    assert "Features by onnxruntime" in remarks.text
