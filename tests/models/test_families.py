"""The networks of published papers: features and files, against records of their authors' code."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from person_reid.basics import UserError
from person_reid.deploy.embedder import Embedder
from person_reid.models.factory import create_model
from person_reid.models.families import FAMILIES
from tests.support.families import (
    FIXTURE,
    authors_weights,
    difference,
    family_entry,
    images_of,
    our_features,
)

RECORDS = json.loads(FIXTURE.read_text())
SHRUNKEN = [name for name, record in RECORDS.items() if record["changes"]]


@pytest.fixture(autouse=True)
def the_table_stays(monkeypatch):
    for name in ("person_reid.models.families", "person_reid.models.registry"):
        monkeypatch.setattr(f"{name}.FAMILIES", FAMILIES)
    before = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(before)


def written(record, folder, change=lambda weights: weights):
    torch.save(change(authors_weights(record)), folder / "authors.pth")
    return folder / "authors.pth"


def check(record, found):
    expected = np.array(record["features"])
    far = np.abs(found[:, :: record["step"]] - expected).max()
    assert found.std() == pytest.approx(record["spread"], rel=1e-4)
    assert far < 1e-4 * record["spread"]


@pytest.mark.parametrize(
    "name",
    [name if name in SHRUNKEN else pytest.param(name, marks=pytest.mark.slow) for name in RECORDS],
)
def test_a_file_of_the_authors_gives_their_features(name, tmp_path):
    record = RECORDS[name]
    check(record, our_features(record, written(record, tmp_path)))
    assert record["difference"] < 1e-4


FILES = {
    "DataParallel": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "training state": lambda weights: {"epoch": 3, "state_dict": weights, "optimizer": {}},
    "with its average": lambda weights: {"model": weights, "ema": dict(weights), "epoch": 3},
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["TransReID JPM", "CLIP-ReID ViT"])
def test_a_training_checkpoint_loads(name, kind, tmp_path):
    record = RECORDS[name]
    check(record, our_features(record, written(record, tmp_path, FILES[kind])))


def test_safetensors_load(tmp_path):
    record = RECORDS["PASS"]
    save_file(authors_weights(record), tmp_path / "authors.safetensors")
    check(record, our_features(record, tmp_path / "authors.safetensors"))


def test_weights_in_half_precision_load(tmp_path):
    record = RECORDS["TransReID"]
    file = written(record, tmp_path, lambda all: {name: v.half() for name, v in all.items()})
    found = our_features(record, file)
    assert difference(found[:, :: record["step"]], np.array(record["features"])) < 0.05


@pytest.mark.parametrize(
    ("file", "backbone"),
    [
        ("TransReID JPM", "TransReID"),  # a plain network lacks nothing, and its last block is bare
        ("TransReID", "TransReID JPM"),
        ("TransReID", "TransReID stride 12"),
        ("PASS", "PersonViT"),
        ("CLIP-ReID ViT", "TransReID"),
        ("TransReID-SSL", "PersonViT"),
    ],
)
def test_a_file_of_a_related_network_is_refused(file, backbone, tmp_path):
    with pytest.raises(UserError, match=r"authors\.pth: the weights of another network"):
        our_features(RECORDS[backbone], written(RECORDS[file], tmp_path))


def test_a_file_of_another_width_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"authors\.pth: the weights of another network"):
        Embedder("personvit_tiny", weights=written(RECORDS["PersonViT"], tmp_path), device="cpu")


def test_unknown_cameras_get_the_mean_of_the_side_information(tmp_path, caplog):
    record = RECORDS["TransReID"]
    name, weights = family_entry(record), written(record, tmp_path)
    embed = Embedder(name, weights, "cpu", size=record["size"], unit_length=False)
    images = list(images_of(record["size"]))
    unknown = embed(images)
    assert (
        "knows the cameras 1 to 3, and those of the images are not given. The mean" in caplog.text
    )
    np.testing.assert_array_equal(embed(images, cameras=np.array([1, 4])), unknown)
    assert "those of the images are 1 to 4" in caplog.text

    def averaged(all):
        rows = all["base.sie_embed"]
        return all | {"base.sie_embed": rows.mean(0, keepdim=True).expand_as(rows)}

    alike = Embedder(
        name, written(record, tmp_path, averaged), "cpu", size=record["size"], unit_length=False
    )
    found = alike(images, cameras=np.array([1, 3]))
    np.testing.assert_allclose(unknown, found, rtol=0, atol=1e-5 * record["spread"])


def test_position_embeddings_of_overlapping_patches_are_resampled(tmp_path):
    record = RECORDS["TransReID stride 12"] | {"size": [128, 32]}
    weights = written(record, tmp_path, lambda all: all | {
        "base.pos_embed": all["base.pos_embed"].mean(1, keepdim=True).expand(1, 11, -1).clone()
    })  # fmt: skip
    assert RECORDS["TransReID stride 12"]["shapes"]["base.pos_embed"] == [1, 11, 48]
    network = create_model(family_entry(record), weights=weights, size=(128, 32))
    found = network.model.pos_embed
    assert found.shape == (1, 21, 48)
    torch.testing.assert_close(found, found[:, :1].expand_as(found))


@pytest.mark.parametrize("name", SHRUNKEN)
def test_a_network_trains(name):
    record = RECORDS[name]
    network = create_model(family_entry(record), 5, weights="none", size=record["size"])
    features, logits = network(torch.randn(2, 3, *record["size"]))
    logits.sum().backward()
    assert features.shape == (2, 512) and logits.shape == (2, 5)
    assert network.entry.feature_map(network.model, torch.zeros(1, 3, *record["size"])).ndim == 4


def test_a_feature_that_is_not_pooled_refuses_a_pooling():
    record = RECORDS["TransReID JPM"]
    network = create_model(family_entry(record), weights="none", size=record["size"], pool="gem")
    with pytest.raises(UserError, match="not pooled from a map: leave --pool and --PCB out"):
        network.eval()(torch.zeros(1, 3, *record["size"]))
