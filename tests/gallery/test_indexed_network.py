"""The network that an index remembers, also one of version 0.2."""

import pytest

from person_reid.deploy.find import run_of
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import network_of

NOTHING = {
    **dict.fromkeys(("from", "backbone", "weights", "engine", "height", "width", "range")),
    **dict.fromkeys(("mean", "std", "feature_output", "stride", "attention", "pool")),
    **dict.fromkeys(("neck", "head", "linear_num")),
    **dict.fromkeys(("ibn", "use_dense", "PCB", "usam", "no_norm", "bgr", "fp16", "bf16"), False),
    "name": "small", "which_epoch": "last", "seed": 0, "ms": "1", "no_flip": True,
}  # fmt: skip
"""As version 0.2 wrote it: with the name of a run even where another flag names the network."""


@pytest.mark.parametrize(
    ("flags", "run"),
    [
        ({}, "small"),
        ({"backbone": "test_resnet", "weights": "none", "height": 64}, None),
        ({"from": "folder"}, None),
        ({"engine": "net.onnx", "range": "0..255"}, None),
        ({"a_flag_of_another_version": 1}, "small"),
    ],
)
def test_the_network_that_version_02_remembers_is_found(tmp_path, flags, run):
    index = SearchIndex(tmp_path / "a.index")
    index.remember({"network": NOTHING | flags})
    found = network_of(index)
    assert run_of(found) == run and found.no_flip and vars(found)["linear_num"] is None
    assert found.from_run == flags.get("from") and found.height == flags.get("height")
    assert (found.backbone, found.engine) == (flags.get("backbone"), flags.get("engine"))
