"""The networks of published papers: features and files, against records of their authors' code."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import test as test_script
from benchmarks.support.filled_networks import (
    FIXTURE,
    authors_weights,
    difference,
    family_entry,
    images_of,
    our_features,
)
from benchmarks.support.people import draw_people
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.find import tested_network
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.models.published.families import FAMILIES
from person_reid.retrieval.features import fused_embedding
from person_reid.retrieval.results import load_result

RECORDS = json.loads(FIXTURE.read_text())
SHRUNKEN = [name for name, record in RECORDS.items() if record["changes"]]


@pytest.fixture(autouse=True)
def the_table_stays(monkeypatch):
    for name in ("person_reid.models.published.families", "person_reid.models.factory"):
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


@pytest.mark.parametrize("name", [name for name in RECORDS if "MGN" in name])
def test_an_mgn_has_the_heads_of_its_authors(name):
    """Without values: the test above is slow for networks that are not shrunken."""
    entry, size = FAMILIES[RECORDS[name]["backbone"]], RECORDS[name]["size"]
    with torch.device("meta"):
        module = entry.build(False, size, 0.0).eval()
        assert entry.feature(module, torch.zeros(2, 3, *size)).shape == (2, 8 * 256)
    ours, authors = (
        {weight.partition(".")[0] for weight in weights if "_head." in weight}
        for weights in (module.state_dict(), RECORDS[name]["shapes"])
    )
    assert ours == authors


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
        pytest.param("fast-reid AGW", "fast-reid BoT", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_a_related_network_is_refused(file, backbone, tmp_path):
    with pytest.raises(UserError, match=r"authors\.pth: the weights of another network"):
        our_features(RECORDS[backbone], written(RECORDS[file], tmp_path))


def test_a_file_of_another_width_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"authors\.pth: the weights of another network"):
        Embedder(
            "personvit_vit_tiny", weights=written(RECORDS["PersonViT"], tmp_path), device="cpu"
        )


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
    found = alike(images, cameras=[1, 3])
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


@pytest.mark.parametrize("options", [{"PCB": True}, {"pool": "gem"}])
def test_a_pooled_map_sees_the_mean_of_the_side_information(options, tmp_path):
    record = RECORDS["TransReID"]
    weights = written(record, tmp_path)
    size = (96, 32) if "PCB" in options else record["size"]
    network = create_model(family_entry(record), 5, weights=weights, size=size, **options).eval()
    embed = fused_embedding(network, torch.device("cpu"))
    assert network.sides == 0
    assert embed(torch.zeros(2, 3, *size)).shape == (2, network.dim)


def test_a_script_looks_up_the_cameras_of_the_images(here, monkeypatch):
    record = RECORDS["TransReID"]
    draw_people(here / "people", 2, 2, 2, 2, 2, 2)
    monkeypatch.setitem(FAMILIES, "tiny", FAMILIES[family_entry(record)])
    file = written(record, here)
    words = "--backbone tiny --height 64 --width 32 --test_dir people/pytorch --gpu_ids -1"
    test_script.main([*words.split(), "--weights", str(file), "--no_norm", "--result", "out.mat"])
    gallery = read_split("people/pytorch", "gallery")
    assert set(gallery.cameras) <= {1, 2, 3}
    embed = Embedder("tiny", file, "cpu", size=(64, 32), unit_length=False)
    expected = embed(gallery.paths, cameras=gallery.cameras)
    found = load_result("out.mat")[1].features
    assert np.abs(found - expected).max() < 1e-5 * expected.std()
    assert np.abs(found - embed(gallery.paths)).max() > 0.01 * expected.std()


def test_a_head_that_comes_with_a_network_is_kept_unless_another_is_asked_for():
    words = ["--backbone", "fastreid_sbs_resnet50_ibn", "--weights", "none"]
    tested = tested_network(parse(TestConfig, words))
    assert (tested.spec.neck, tested.spec.pool, tested.size) == ("bnneck", "gemp", (384, 128))
    assert tested.num_classes
    bare = tested_network(parse(TestConfig, [*words, "--neck", "none"]))
    assert bare.spec.neck == "none"
    assert bare.num_classes is None
    with pytest.raises(UserError, match="stride=1 has no meaning for fastreid_sbs_resnet50_ibn"):
        create_model("fastreid_sbs_resnet50_ibn", stride=1)


@pytest.mark.parametrize("name", SHRUNKEN)
def test_a_network_trains(name):
    record = RECORDS[name]
    network = create_model(family_entry(record), 5, weights="none", size=record["size"])
    features, logits = network(torch.randn(2, 3, *record["size"]))
    logits.sum().backward()
    assert features.shape == (2, network.metric_dim)
    assert logits.shape == (2, 5)
    assert (
        network.architecture.feature_map(network.model, torch.zeros(1, 3, *record["size"])).ndim
        == 4
    )


def test_a_projection_without_weights_keeps_the_scale_of_what_it_projects():
    record = RECORDS["CLIP-ReID ViT"]
    network = create_model(family_entry(record), weights="none", size=record["size"])
    projection = network.model.proj
    assert projection.std().item() == pytest.approx(len(projection) ** -0.5, rel=0.1)


def test_a_feature_that_is_not_pooled_refuses_a_pooling():
    record = RECORDS["TransReID JPM"]
    network = create_model(family_entry(record), weights="none", size=record["size"], pool="gem")
    with pytest.raises(UserError, match="not pooled from a map: leave pool and PCB out"):
        network.eval()(torch.zeros(1, 3, *record["size"]))
