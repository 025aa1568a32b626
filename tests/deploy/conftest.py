"""Exports, which take the longest of all that these tests do."""

import hashlib
from contextlib import suppress
from functools import cache

import pytest

from person_reid.deploy import export

WRITTEN: dict[str, bytes] = {}


@cache
def list_operators_once():
    """PyTorch lists the operators of ONNX anew for each file: a third of the time."""
    with suppress(ImportError, AttributeError):  # of another PyTorch
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))


@pytest.fixture(autouse=True)
def written_once(monkeypatch):
    """PyTorch writes the same module to ONNX once, and the next test gets the same bytes.

    The file is checked each time.
    """

    def write(module, contents, original=export.EXPORT_WRITERS["onnx"]):
        described = hashlib.sha256(f"{module}{contents}{module.embed.scales}".encode())
        for tensor in module.state_dict().values():
            described.update(tensor.contiguous().numpy())
        key = described.hexdigest()
        if key not in WRITTEN:
            list_operators_once()
            WRITTEN[key] = original(module, contents)
        return WRITTEN[key]

    monkeypatch.setitem(export.EXPORT_WRITERS, "onnx", write)
