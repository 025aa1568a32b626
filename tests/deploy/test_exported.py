import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion

from person_reid.config.tested import EXPORT_FORMATS
from person_reid.deploy import export as module
from person_reid.deploy.engine import Engine, providers
from person_reid.deploy.export import export, tensorrt_advice
from person_reid.deploy.exported_files import Contents, file_size
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding

SIZE = (64, 32)
CPU = torch.device("cpu")
PLAIN: dict = {}
INSIDE: dict = {"normalised": True, "flip": True, "l2": True}


def test_a_feature_that_is_no_number_is_no_agreement():
    """In whichever batch it comes; max() of Python would pass over all but the first."""
    ones = torch.ones(2, 3)
    expected = [(torch.zeros(1), ones), (torch.ones(1), ones)]

    def broken(images: Any) -> Any:
        return torch.where(images > 0, np.nan, 1) * ones

    engine: Any = broken
    assert np.isnan(module.deviation(engine, expected))
    assert module.deviation(engine, expected[:1]) == 0


@pytest.fixture(scope="module")
def bank():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8))


def network_of(name, **options):
    """A small network whose norms have statistics worth fusing."""
    torch.manual_seed(0)
    network = create_model(name, weights="none", size=SIZE, **options).eval()
    for buffer_name, buffer in network.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif buffer_name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="module")
def network():
    return network_of("test_resnet")


def contents_of(network, **entries):
    return Contents(*SIZE, network.dim, network.pieces, "a test", **entries)


def exported(network, path, **entries):
    export(network, contents_of(network, **entries), path, EXPORT_FORMATS[path.suffix])
    return Engine(path)


def expected(network, bank, flip=True):
    return extract_features(fused_embedding(network, CPU), bank, CPU, 32, flip=flip)


@pytest.mark.parametrize("suffix", EXPORT_FORMATS)
@pytest.mark.parametrize("entries", [PLAIN, INSIDE], ids=["plain", "inside"])
def test_an_exported_file_gives_the_features_of_the_network(
    network, bank, suffix, entries, tmp_path
):
    pytest.importorskip("onnxruntime")
    engine = exported(network, tmp_path / f"net{suffix}", **entries)
    assert engine.contents == contents_of(network, **entries)
    assert engine.size == SIZE
    features = expected(network, bank)
    np.testing.assert_allclose(engine.features(bank), features, atol=1e-5)
    np.testing.assert_allclose(engine.features(bank, batch_size=1), features, atol=1e-5)
    assert engine.features(bank[:0]).shape == (0, network.dim)
    if entries:  # what a program without this suite gets
        np.testing.assert_allclose(engine(bank), features, atol=1e-5)
    else:
        np.testing.assert_allclose(
            engine.features(bank, flip=False), expected(network, bank, flip=False), atol=1e-5
        )


@pytest.mark.parametrize("name", ["test_vit", "PCB"])
def test_transformers_and_parts_run_as_onnx(name, bank, tmp_path):
    pytest.importorskip("onnxruntime")
    network = network_of("test_resnet", PCB=True) if name == "PCB" else network_of(name)
    assert (network.pieces > 1) == (name == "PCB")
    features = expected(network, bank)
    np.testing.assert_allclose(
        exported(network, tmp_path / "net.onnx").features(bank), features, atol=1e-5
    )


def test_a_file_of_one_view_and_unit_length_is_not_mirrored_outside(network, bank, tmp_path):
    engine = exported(network, tmp_path / "net.pt", l2=True)
    np.testing.assert_allclose(
        engine.features(bank), expected(network, bank, flip=False), atol=1e-5
    )


@pytest.mark.parametrize(
    ("suffix", "precision", "least"), [(".pt", "float16", 0.9999), (".onnx", "int8", 0.9)]
)
def test_lower_precision_is_near_and_smaller(network, bank, suffix, precision, least, tmp_path):
    pytest.importorskip("onnxruntime")
    features = expected(network, bank)
    low = exported(network, tmp_path / f"low{suffix}", precision=precision).features(bank)
    assert least < (low * features).sum(1).min()
    assert not np.allclose(low, features, atol=1e-6)
    assert (tmp_path / f"low{suffix}").stat().st_size < 0.6 * 4 * sum(
        value.numel() for value in network.parameters()
    )
    # The network itself is unchanged.
    np.testing.assert_array_equal(expected(network, bank), features)


@pytest.mark.parametrize(("factor", "words"), [(1.001, r"1\.0e-03"), (float("nan"), "nan")])
def test_a_file_that_deviates_is_refused_and_the_old_one_stays(
    factor, words, network, tmp_path, monkeypatch
):
    path = tmp_path / "net.pt"
    path.write_bytes(b"old")

    def unlike(self, images):
        return self.embed(images) * (factor if torch.jit.is_tracing() else 1)

    monkeypatch.setattr(module.Deployed, "forward", unlike)
    with pytest.raises(
        UserError,
        match=f"not written: as torchscript the features deviate by {words} of their scale",
    ):
        export(network, contents_of(network), path, "torchscript")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class TestWhatGoesWrong:
    def test_files_that_are_not_engines_are_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"absent\.onnx: no such exported network"):
            Engine(tmp_path / "absent.onnx")
        for name in ("net.onnx", "net.pt", "net.pt2"):
            (tmp_path / name).write_bytes(b"nothing of the kind")
            with pytest.raises(
                UserError, match=rf"{name}: not a network written by tools/export\.py, or damaged"
            ):
                Engine(tmp_path / name)
        (tmp_path / "net.pth").touch()
        with pytest.raises(UserError, match=r"ends in \.onnx, \.pt, \.pt2"):
            Engine(tmp_path / "net.pth")

    def test_a_torchscript_file_of_another_program_is_refused(self, tmp_path):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "net.pt"))
        with pytest.raises(UserError, match="not a network written by"):
            Engine(tmp_path / "net.pt")

    def test_missing_libraries_name_the_command(self, network, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        with pytest.raises(UserError, match="python -m pip install"):
            export(network, contents_of(network), tmp_path / "net.onnx", "onnx")
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(UserError, match="python -m pip install onnxruntime"):
            export(network, contents_of(network), tmp_path / "net.onnx", "onnx")

    def test_a_network_that_cannot_be_exported_is_named_with_the_advice(
        self, network, tmp_path, monkeypatch
    ):
        def branching(self, images):
            return self.embed(images) if images.sum() > 0 else images

        monkeypatch.setattr(module.Deployed, "forward", branching)
        for version, advice in ("2.10.0", ""), ("2.6.0", " PyTorch 2.7 or newer may write it."):
            monkeypatch.setattr(torch, "__version__", TorchVersion(version))
            with pytest.raises(
                UserError,
                match=rf"a test: this network cannot be written as export \(.*\)\.{advice}$",
            ):
                export(network, contents_of(network), tmp_path / "net.pt2", "export")


def test_the_size_of_a_file_of_openvino_is_that_of_both_its_parts(tmp_path):
    for name, content in (("net.xml", b"layers"), ("net.bin", b"weights"), ("net.onnx", b"both")):
        (tmp_path / name).write_bytes(content)
    assert [file_size(tmp_path / name) for name in ("net.xml", "net.onnx")] == [6 + 7, 4]


def test_contents_survive_json_and_later_entries():
    contents = Contents(256, 128, 768, 6, "x", True, True, True, "int8", True)
    text = json.dumps({**json.loads(contents.to_json()), "of_a_later_version": 1})
    assert Contents.from_json(text) == contents


def test_providers_of_a_gpu_stand_before_the_cpu(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    assert [name for name, _ in providers(CPU)] == there[2:]
    assert [name for name, _ in providers(torch.device("cuda"))] == there[1:]
    assert [name for name, _ in providers(torch.device("cuda", 1), tensorrt=True)] == there
    assert providers(torch.device("cuda", 1))[0][1] == {"device_id": 1}


def test_the_command_of_tensorrt_has_the_shapes(network):
    pytest.importorskip("onnxruntime")
    contents = contents_of(network)
    assert "--minShapes=images:1x3x64x32" in tensorrt_advice("a.onnx", contents)
    assert tensorrt_advice(
        "a.onnx", replace(contents, normalised=True, precision="float16")
    ).endswith("x64x32x3 --fp16")
