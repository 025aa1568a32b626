"""Weight files: wrapped, of whole networks and of backbones, damaged and foreign ones."""

import io
import sys
import zipfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch.optim.swa_utils import AveragedModel

from person_reid.errors import UserError
from person_reid.models.factory import create_model, load_weights
from person_reid.models.weight_files import read_state_dict
from person_reid.models.weights import LoadReport
from person_reid.run_folder import RunFolder


def network(num_classes=3, **options):
    return create_model(
        "osnet_x0_25", num_classes, **{"linear_num": 8, "weights": "none", **options}
    )


def check_same_features(first, second):
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(first.eval().embed(images), second.eval().embed(images))


@pytest.mark.parametrize(
    "wrap", ["plain", "data parallel", "compiled", "both", "averaged", "training state"]
)
def test_a_checkpoint_loads_whatever_wrapped_it(wrap, tmp_path):
    trained = network()
    wrappers: dict = {
        "data parallel": torch.nn.DataParallel,
        "compiled": torch.compile,
        "averaged": AveragedModel,
    }
    wrappers["both"] = lambda network: wrappers["data parallel"](torch.compile(network))
    state = wrappers[wrap](trained).state_dict() if wrap in wrappers else trained.state_dict()
    torch.save(
        {"epoch": 3, "state_dict": state} if wrap == "training state" else state,
        tmp_path / "net.pth",
    )
    fresh = network()
    report = load_weights(fresh, tmp_path / "net.pth", strict=True)
    assert not report.missing
    assert not report.unknown
    assert not report.mismatched
    check_same_features(trained, fresh)


class Settings(dict):
    """As programs keep their options beside the weights."""


class Handmade(torch.nn.Module):
    """Pickled whole, which runs its code."""


def numpy_of(version, path):
    """Rewrite a file as NumPy of another version would have written it."""
    content = {info: zipfile.ZipFile(path).read(info) for info in zipfile.ZipFile(path).namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in content.items():
            for core in (b"numpy._core.", b"numpy.core."):
                part = part.replace(core, version)
            archive.writestr(name, part)


@pytest.mark.parametrize("version", [b"numpy.core.", b"numpy._core."])
def test_numbers_of_either_numpy_may_lie_beside_the_weights(version, tmp_path):
    state = {"weight": torch.ones(3)}
    torch.save(
        {"state_dict": state, "rank1": np.float64(0.9), "cmc": np.arange(3.0)}, tmp_path / "net.pth"
    )
    numpy_of(version, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth")["weight"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("key", ["net", "ema_model", "anything"])
def test_weights_under_any_key_are_found_and_the_key_is_said(key, tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    optimizer = {
        "state": {0: {"exp_avg": torch.ones(1)}},
        "optimizer": {f"a{i}": torch.ones(1) for i in range(9)},
    }
    torch.save(
        {key: {"module.weight": torch.ones(2)}, "epoch": 3, **optimizer}, tmp_path / "net.pth"
    )
    assert list(read_state_dict(tmp_path / "net.pth")) == ["weight"]
    assert f"the weights are those under '{key}'" in caplog.text


@pytest.mark.parametrize(
    "beside",
    [
        Settings(a=1),
        Path("x"),
        {1, 2},
        datetime(2025, 1, 1),
        defaultdict(list, a=[1]),
        Handmade(),
        np.arange(3),
    ],
    ids=lambda beside: type(beside).__name__,
)
def test_objects_beside_the_weights_do_not_matter(beside, tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(2)}, "of": beside}, tmp_path / "net.pth")
    assert list(read_state_dict(tmp_path / "net.pth")) == ["weight"]


@pytest.mark.parametrize("content", [Handmade(), {"weight": print}])
def test_what_runs_code_is_named_with_what_to_do(content, tmp_path):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(
        UserError, match=r"(Handmade|builtins\.print).*torch\.save\(model\.state_dict"
    ) as error:
        read_state_dict(tmp_path / "net.pth")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", ["net.onnx", "net.xml", "net.pt2"])
def test_an_exported_network_is_not_a_weight_file(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=rf"an exported network.*--engine .*{name}"):
        read_state_dict(tmp_path / name)


def test_a_backbone_file_loads_into_the_backbone(tmp_path):
    trained = network()
    torch.save(trained.model.state_dict(), tmp_path / "backbone.pth")
    fresh = network(weights=str(tmp_path / "backbone.pth"))
    fresh.classifier.load_state_dict(trained.classifier.state_dict())
    check_same_features(trained, fresh)


def test_a_whole_network_gives_its_backbone_to_a_network_without_head(tmp_path):
    trained = network()
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    bare = network(num_classes=None, weights=str(tmp_path / "net.pth"))
    with torch.inference_mode():
        images = torch.randn(2, 3, 64, 32)
        torch.testing.assert_close(bare.eval().embed(images), trained.eval().model(images))
    report = load_weights(bare, tmp_path / "net.pth")
    # A classifier that nobody asked for is not worth a word.
    assert not report.unknown
    assert not report.missing


@pytest.mark.parametrize(("names", "shown"), [("abc", "3 (a, b, c)"), ("abcd", "4 (a, b, c, …)")])
def test_a_report_names_three_tensors(names, shown):
    assert str(LoadReport(unknown=list(names))) == f"0 tensors loaded; {shown} of the file not used"


def test_other_identities_leave_the_classifier_and_load_the_rest(tmp_path):
    torch.save(network(num_classes=7).state_dict(), tmp_path / "net.pth")
    fresh = network(num_classes=3)
    report = load_weights(fresh, tmp_path / "net.pth", strict=True)
    assert sorted(report.mismatched) == [
        "classifier.classifier.0.bias",
        "classifier.classifier.0.weight",
    ]
    assert (
        "2 (classifier.classifier.0.weight, classifier.classifier.0.bias) of another shape skipped"
        in str(report)
    )


def test_training_may_begin_from_a_network_with_another_neck(tmp_path):
    torch.save(network(linear_num=16).state_dict(), tmp_path / "net.pth")
    report = load_weights(network(), tmp_path / "net.pth")
    assert report.mismatched
    assert all(name.startswith("classifier.") for name in report.mismatched)


@pytest.mark.parametrize(
    "other",
    [
        lambda: create_model("osnet_x0_5", 3, linear_num=8, weights="none"),
        lambda: create_model("resnet18", 3, linear_num=8, weights="none"),
        lambda: network(linear_num=0),
    ],
)
def test_another_networks_checkpoint_is_refused(other, tmp_path):
    torch.save(other().state_dict(), tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"net\.pth: the weights of another network"):
        load_weights(network(), tmp_path / "net.pth", strict=True)


def test_a_checkpoint_that_lacks_a_tensor_of_the_feature_is_refused(tmp_path):
    state = network().state_dict()
    del state["model.conv5.conv.weight"]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"1 \(model\.conv5\.conv\.weight\) left as initialised"):
        load_weights(network(), tmp_path / "net.pth", strict=True)


@pytest.mark.parametrize("name", ["osnet_x0_25", "lightmbn"])
def test_training_does_not_begin_from_a_file_of_which_nothing_fits(name, tmp_path):
    torch.save(create_model("resnet18", weights="none").model.state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="the weights of another network"):
        create_model(name, 3, weights=str(tmp_path / "resnet.pth"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such weight file"):
        read_state_dict(tmp_path / "absent.pth")


def zipped(**parts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(f"archive/{name}", part)
    return file.getvalue()


DAMAGED = [b"", b"\0" * 64, b"PK\3\4" + bytes(200), b"\x80\x02" + b"}q\x01" * 9, b"\x80\x04I"]
DAMAGED += [zipped(), zipped(data=b"x")]
DAMAGED += [
    zipped(**{"data.pkl": b"\x80\x02N.", "version": b"9" * 40}),
    zipped(**{"data.pkl": b"(lp0\nq\1."}),
]
DAMAGED += [np.random.default_rng(seed).bytes(500) for seed in range(20)]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_end_in_one_line(content, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(
        UserError, match=r"net\.pth: (not a readable weight file|expected a state dict)"
    ) as error:
        read_state_dict(tmp_path / "net.pth")
    assert str(error.value).endswith(".")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_byte_of_a_checkpoint_is_noticed(seed, tmp_path):
    """Wherever it is, save in the few that no reader looks at."""
    path, whole = tmp_path / "net.pth", {"weight": torch.arange(5000.0)}
    torch.save(whole, path)
    content = bytearray(path.read_bytes())
    content[np.random.default_rng(seed).integers(len(content))] ^= 255
    path.write_bytes(content)
    try:
        found = read_state_dict(path)
    except UserError as error:
        assert "not a readable weight file" in str(error)
    else:
        assert torch.equal(found["weight"], whole["weight"])


@pytest.mark.parametrize("content", ["truncated", "text", "code", "no tensors", "no names", "list"])
def test_what_is_no_state_dict_is_refused_and_never_executed(content, tmp_path):
    path = tmp_path / "net.pth"
    if content == "truncated":
        torch.save(network().state_dict(), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif content == "text":
        path.write_text("not weights")
    elif content == "code":
        torch.save({"weight": print}, path)
    else:
        contents = {"no tensors": {"epoch": 3}, "no names": {0: torch.ones(2)}, "list": [1, 2]}
        torch.save(contents[content], path)
    with pytest.raises(
        UserError, match=r"net\.pth: (not a readable weight file|expected a state dict)"
    ):
        read_state_dict(path)


def test_a_training_state_that_refers_to_itself_is_read(here):
    run = RunFolder("run")
    circle: list[list] = []
    circle.append(circle)
    run.save_options({})
    run.save_state({"network": {"weight": torch.ones(2)}, "circle": circle})
    assert run.load_state(torch.device("cpu"))["network"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_weights_in_a_folder_whose_name_is_not_utf8_are_read(tmp_path):
    (tmp_path / "caf\udce9.safetensors").write_bytes(save({"a": torch.arange(3.0)}))
    assert read_state_dict(tmp_path / "caf\udce9.safetensors")["a"].tolist() == [0, 1, 2]
