"""The Hugging Face hub without a connection: what its cache has, or one line within seconds."""

import io
import json
import threading
import time

import huggingface_hub
import pytest
import timm
from safetensors.torch import save_file

from person_reid.config.zoo import folder
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.models.from_timm import find_timm
from person_reid.models.published import hub

CONFIG = {
    "architecture": "resnet18",
    "num_classes": 10,
    "pretrained_cfg": {"num_classes": 10, "classifier": "fc", "license": "cc0-1.0"},
}


@pytest.fixture
def put(monkeypatch, tmp_path):
    """Return put(name, config), which makes a network's folder in an offline machine's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda address: False)

    def put(name, config):
        folder = tmp_path / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / "1"
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("1")
        (snapshot / "config.json").write_text(json.dumps(config))
        return snapshot

    yield put
    find_timm.cache_clear()


def test_a_network_of_the_hub_in_the_cache_needs_no_connection(put):
    weights = timm.create_model("resnet18", num_classes=10).state_dict()
    save_file(weights, put("owner/one", CONFIG) / "model.safetensors")
    network = create_model("hf-hub:owner/one", 3, pretrained=True)
    assert (network.model.conv1.weight == weights["conv1.weight"]).all()
    assert network.size == (256, 128)
    assert network.architecture.licence() == "cc0-1.0"


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("owner/two", {"architectures": ["Bert"]}, "'architecture'"),
        ("owner/three", CONFIG | {"architecture": "nonet"}, "nonet is not a network of timm"),
        ("owner/four", None, "https://huggingface.co does not answer"),
        ("owner/five/six", None, "Repo id must be"),
    ],
)
def test_what_is_no_network_on_the_hub_is_one_line(name, config, reason, put):
    if config:
        put(name, config)
    with pytest.raises(
        UserError, match=rf"^backbone=hf-hub:{name}: no network of timm .*\({reason}"
    ) as error:
        find_timm(f"hf-hub:{name}")
    assert "\n" not in str(error.value)


def test_weights_that_a_silent_hub_has_are_said_to_be_out_of_reach(put):
    put("owner/seven", CONFIG)
    with pytest.raises(
        UserError, match=r"could not be fetched \(https://huggingface.co does not answer\)"
    ):
        create_model("hf-hub:owner/seven", 3, pretrained=True)


@pytest.mark.parametrize("proxies", [{}, {"no": "localhost"}])
def test_a_name_that_is_looked_up_for_long_takes_no_longer_than_the_patience(proxies, monkeypatch):
    """Nor do the addresses of a name, of which each is tried in turn."""
    monkeypatch.setattr(hub, "HUB_PATIENCE", 0.1)
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = threading.Event()

    def look_up(*_):
        found.wait(10)
        return io.BytesIO()  # which can be closed, as a connection can

    monkeypatch.setattr("socket.create_connection", look_up)
    began = time.perf_counter()
    with hub.quick_to_fail():
        assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert time.perf_counter() - began < 1
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
    found.set()


@pytest.mark.parametrize(
    "address", ["http://host:port", f"https://{'a' * 64}.org", "http://[::1", "http://host:99999"]
)
def test_an_address_that_cannot_be_one_does_not_answer(address, monkeypatch):
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    raised: list[object] = []
    monkeypatch.setattr("threading.excepthook", raised.append)
    with pytest.raises(ConnectionError, match="does not answer"), hub.quick_to_fail():
        raise FileNotFoundError
    assert not raised


@pytest.fixture
def no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder()


def test_both_files_are_downloaded_once_the_graph_last(no_files, monkeypatch):
    fetched = []

    def fetch(address, target, checksum):
        fetched.append((address.rpartition("/")[2], target.name))
        assert len(checksum) == 96
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()

    monkeypatch.setattr(hub, "fetch_file", fetch)
    # Empty files are not the published ones, and are not fetched again.
    for _ in range(2):
        with pytest.raises(
            UserError,
            match=r"intel_0287\.bin: not the published .*SHA-384 begins with 38b0",
        ):
            create_model("osnet_lct_x0_5", weights="intel_0287")
    name = "person-reidentification-retail-0287"
    assert fetched == [(f"{name}.bin", "intel_0287.bin"), (f"{name}.xml", "intel_0287.xml")]


def test_a_download_that_fails_says_where_to_put_the_files(no_files, monkeypatch):
    def fetch(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "fetch_file", fetch)
    with pytest.raises(UserError, match=r"could not be fetched \(no route to host\)") as error:
        create_model("osnet_lct_x0_5", weights="intel_0287")
    assert f"with its .bin and save it as {no_files / 'intel_0287.xml'}" in str(error.value)
