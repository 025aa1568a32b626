"""The network that an index remembers, in every form that one may have."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from person_reid.config.search import IndexConfig
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.deploy.network_names import run_of
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import (
    NetworkRef,
    check_place,
    check_same_network,
    network_options,
    network_ref,
    open_network,
    ref_of,
)

NOTHING = {
    **dict.fromkeys(("from", "backbone", "weights", "engine", "height", "width", "range")),
    **dict.fromkeys(("mean", "std", "feature_output", "stride", "attention", "pool")),
    **dict.fromkeys(("neck", "head", "linear_num")),
    **dict.fromkeys(("ibn", "use_dense", "PCB", "usam", "no_norm", "bgr", "fp16", "bf16"), False),
    "name": "small", "which_epoch": "last", "seed": 0, "ms": "1", "no_flip": True,
}  # fmt: skip
"""With the name of a run even where another flag names the network."""


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
def test_the_network_that_an_index_remembers_is_found(tmp_path, flags, run):
    index = SearchIndex(tmp_path / "a.index")
    index.remember({"network": NOTHING | flags})
    found = network_options(index)
    assert run_of(found) == run
    assert found.no_flip
    assert vars(found)["linear_num"] is None
    assert found.from_run == flags.get("from")
    assert found.height == flags.get("height")
    assert (found.backbone, found.engine) == (flags.get("backbone"), flags.get("engine"))


def test_networks_are_equal_whatever_is_said_of_them_besides():
    flags = {"weights": "a.pth", "backbone": "test_resnet", "no_flip": True}
    network = NetworkRef.from_json(flags)
    assert network == NetworkRef.from_json({"name": "small", "height": None, "bgr": False} | flags)
    assert network == NetworkRef.from_json(network.to_json())
    assert hash(network)
    assert network != NetworkRef.from_json(flags | {"height": 64})
    assert (network.kind, network.place, str(network)) == ("weights", "a.pth", "test_resnet a.pth")
    assert network.contradicted(flags | {"weights": "b.pth"}) == []
    assert network.contradicted({"name": "run"}) == ["name (remembered: off, asked: run)"]


class Described:
    """An Embedder that describes the synthetic image by a given feature."""

    def __init__(self, feature):
        self.feature = np.float32(feature)

    def probe(self):
        return self.feature


def test_an_index_that_does_not_name_its_network_says_so_once(tmp_path, caplog):
    index = SearchIndex(tmp_path / "a.index")
    index.add(["a.jpg"], np.eye(1, 4, dtype=np.float32))
    for _ in range(2):
        check_same_network(index, Described([1, 0, 0, 0]), NetworkRef("name", "run"))
    assert caplog.text.count("which network indexed its 1 images. Was it this one?") == 1


def test_an_index_without_a_network_takes_what_is_named_wherever_it_lies(tmp_path):
    network = NetworkRef("weights", str(tmp_path / "gone.pth"))
    check_place(SearchIndex(tmp_path / "a.index"), network)


def test_an_index_without_a_network_takes_the_one_in_the_package_unless_a_run_is_meant(here):
    assert network_ref(SearchIndex("a.index")).to_json()["from"] == PACKAGED_NETWORK
    config = IndexConfig(index="a.index", images=("a.jpg",), which_epoch="60")
    with pytest.raises(UserError, match="ft_ResNet50/opts.yaml: no run of that name"):
        open_network(SearchIndex("a.index"), config)


def test_the_source_of_an_embedder_is_a_file_a_folder_or_a_run(here):
    (here / "net.onnx").touch()
    for source, kind, place in (
        ("net.onnx", "engine", str(here / "net.onnx")),
        (".", "from", str(here)),
        ("small", "name", "small"),
    ):
        embedder: Any = SimpleNamespace(source=source, weights=None, flip=True)
        network = ref_of(embedder)
        assert (network.kind, network.place) == (kind, place)
