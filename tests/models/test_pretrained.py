"""Checkpoints of other programs: the names are theirs, the tensors end up in our networks."""

import re
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import interpolate

from person_reid.config.network import NetworkOptions
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.find import tested_network
from person_reid.deploy.load import load_network
from person_reid.errors import UserError
from person_reid.models.factory import build_network, create_model, load_weights
from person_reid.models.published.transformer_weights import timm_names_of_mmdetection


def under(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def other(tensors):
    return {name: value + 1 for name, value in tensors.items()}


PREFIXES = ("model.backbone.", "net.", "feature_extractor.", "_fsdp_wrapped_module.")


def beside_another(prefix, tensors):
    return under(prefix, {**tensors, "extra": torch.ones(1)})


# How each program saves a backbone, and one tensor of its own that is to be left out.
FORMS = {
    "MoCo, LUPerson": (
        lambda b: {
            "arch": "resnet50",
            "state_dict": {
                **under("module.encoder_q.", b),
                **under("module.encoder_k.", other(b)),
                "module.queue": torch.ones(2),
            },
        },
        "queue",
    ),
    "LUPerson-NL": (
        lambda b: {"state_dict": under("encoder.", {**b, "fc1.weight": torch.ones(2)})},
        "fc1.weight",
    ),
    "DINO, TransReID-SSL, SOLIDER": (
        lambda b: {
            "student": under("module.backbone.", other(b)),
            "teacher": under("module.backbone.", b) | {"module.head.mlp.0.weight": torch.ones(2)},
            "args": Namespace(arch="osnet", epochs=3),
            "epoch": 3,
        },
        "head.mlp.0.weight",
    ),
    "fast-reid": (
        lambda b: {
            "model": under("backbone.", b)
            | {"heads.weight": torch.ones(2), "pixel_mean": torch.ones(3)}
        },
        "heads.weight",
    ),
    "torchreid": (
        lambda b: {
            "state_dict": under("module.", {**b, "classifier.weight": torch.ones(2)}),
            "rank1": np.float64(0.9),
        },
        "classifier.weight",
    ),
    "TransReID": (
        lambda b: under("base.", b) | {"bottleneck.weight": torch.ones(2)},
        "bottleneck.weight",
    ),
    "apex in half precision": (lambda b: under("1.", {**b, "extra": torch.ones(1)}), "extra"),
    "Roboflow's trackers": (lambda b: under("0.", b) | {"1.weight": torch.ones(2)}, "1.weight"),
    "compiled, then parallel": (
        lambda b: under("module._orig_mod.", {**b, "extra": torch.ones(1)}),
        "extra",
    ),
    **{begin: (partial(beside_another, begin), "extra") for begin in PREFIXES},
    "activation checkpoints": (
        lambda b: {
            **{n.replace(".conv", "._checkpoint_wrapped_module.conv"): v for n, v in b.items()},
            "extra": torch.ones(1),
        },
        "extra",
    ),
    "an average beside the weights": (
        lambda b: {"model": other(b), "model_ema": {**b, "extra": torch.ones(1)}},
        "extra",
    ),
    "parallel, then compiled": (
        lambda b: under("_orig_mod.module.", {**b, "extra": torch.ones(1)}),
        "extra",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_backbone_that_another_program_pretrained_is_loaded_whole(
    form, num_classes, tmp_path, caplog
):
    caplog.set_level("INFO")
    trained = create_model("test_resnet", weights="none")
    save, left_out = FORMS[form]
    torch.save(save(trained.model.state_dict()), tmp_path / "pretrained.pth")
    fresh = create_model("test_resnet", num_classes, weights=str(tmp_path / "pretrained.pth"))
    printed = caplog.text
    assert f"{len(fresh.model.state_dict())} tensors loaded" in printed
    assert "of the file not used" in printed
    report = load_weights(fresh, tmp_path / "pretrained.pth")
    assert left_out in report.unknown
    assert not report.missing
    loaded = fresh.model.state_dict()
    assert all(
        torch.equal(value, loaded[name]) for name, value in trained.model.state_dict().items()
    )


@pytest.mark.parametrize("begin", ["model.model.", "model._orig_mod.", "model.module."])
def test_a_network_in_the_file_of_a_trainer_is_loaded_whole(begin, tmp_path):
    trained, file = create_model("test_resnet", weights="none"), tmp_path / "x.ckpt"
    torch.save({"state_dict": under(begin, trained.model.state_dict()), "epoch": 3}, file)
    report = load_weights(create_model("test_resnet", weights="none"), file, strict=True)
    assert not report.missing
    assert not report.unknown


def of_meta(state):
    """Return the names of Meta's DINOv3, in which timm calls other layers otherwise."""
    names = {n: re.sub(r"gamma_([12])$", r"ls\1.gamma", n) for n in state}
    return {names[n].replace("reg_token", "storage_tokens"): v for n, v in state.items()} | {
        "mask_token": torch.zeros(1, 192), "rope_embed.periods": torch.ones(16),
    }  # fmt: skip


def of_deit(state):
    return {"model": {re.sub(r"ls([12])\.gamma$", r"gamma_\1", n): v for n, v in state.items()}}


AUTHORS = {
    "deit3_small_patch16_224": of_deit,
    "eva02_tiny_patch14_224": lambda state: {
        "module." + n.replace("fc1_g", "w1").replace("fc1_x", "w2").replace("fc2", "w3"): v
        for n, v in state.items()
    },
    "vit_small_patch16_dinov3": of_meta,
}


@pytest.mark.parametrize("name", AUTHORS)
def test_a_transformer_of_its_authors_is_loaded_whole(name, tmp_path, caplog):
    size = (112, 56) if "14" in name else (128, 64)
    trained = create_model(name, weights="none", size=size)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.normal_(std=0.1)
    torch.save(AUTHORS[name](trained.model.state_dict()), tmp_path / "authors.pth")
    fresh = create_model(name, weights=str(tmp_path / "authors.pth"), size=size)
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        assert torch.equal(fresh.eval().embed(images), trained.eval().embed(images))
    assert "WARNING" not in {record.levelname for record in caplog.records}


def test_layers_under_other_names_are_refused_and_missing_ones_are_said(tmp_path, caplog):
    trained = create_model("test_resnet", weights="none").model.state_dict()
    lost = [name for name in trained if "layer1" in name and name.endswith("weight")]
    assert lost
    torch.save({n: v for n, v in trained.items() if n not in lost}, tmp_path / "part.pth")
    create_model("test_resnet", 3, weights=str(tmp_path / "part.pth"))
    said = f"{len(lost)} tensors of the backbone are missing ({sorted(lost)[0]}"
    assert said in caplog.text
    renamed = {n.replace("layer1", "stage1") if n in lost else n: v for n, v in trained.items()}
    torch.save(renamed, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"(?s)the file has as many of their shapes.*stage1"):
        create_model("test_resnet", 3, weights=str(tmp_path / "other.pth"))


def test_a_container_of_which_little_fits_is_refused(tmp_path):
    torch.save(
        under("encoder_q.", create_model("resnet18", weights="none").model.state_dict()),
        tmp_path / "x.pth",
    )
    with pytest.raises(UserError, match=r"x\.pth: the weights of another network"):
        create_model("osnet_x0_25", 3, weights=str(tmp_path / "x.pth"))


VIT = "vit_tiny_patch16_224"


@pytest.mark.parametrize("grid", [(14, 14), (24, 8), (8, 4)])
def test_position_embeddings_of_another_shape_are_resampled(grid, tmp_path):
    trained = create_model(VIT, weights="none", size=(grid[0] * 16, grid[1] * 16)).model
    with torch.no_grad():
        trained.pos_embed.normal_()
    torch.save(trained.state_dict(), tmp_path / "vit.pth")
    fresh = create_model(VIT, weights=str(tmp_path / "vit.pth"), size=(256, 128)).model
    before, now = trained.pos_embed.detach(), fresh.pos_embed.detach()
    assert torch.equal(now[:, :1], before[:, :1])
    plane = before[:, 1:].mT.unflatten(2, grid)
    expected = interpolate(plane, (16, 8), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(now[:, 1:].mT.unflatten(2, (16, 8)), expected)


def test_a_grid_that_nobody_can_know_is_refused(tmp_path):
    state = create_model(VIT, weights="none").model.state_dict()
    state["pos_embed"] = state["pos_embed"][:, :-1]
    torch.save(state, tmp_path / "vit.pth")
    with pytest.raises(UserError, match=r"1 \(pos_embed\) of another shape skipped"):
        create_model(VIT, weights=str(tmp_path / "vit.pth"))


def test_a_backbone_without_a_prefix_and_its_norm_are_loaded(tmp_path):
    """TransReID-SSL saves its networks without labels so."""
    trained = create_model("resnet18", 3, neck="bnneck").eval()
    trained.classifier.add_block[0].running_mean.normal_()
    names = {"model.": "", "classifier.add_block.0.": "bottleneck."}
    saved = {
        other + name.removeprefix(own): value
        for name, value in trained.state_dict().items()
        for own, other in names.items()
        if name.startswith(own)
    }
    torch.save({"state_dict": under("module.", saved)}, tmp_path / "x.pth")
    found = create_model("resnet18", 5, weights=str(tmp_path / "x.pth"), neck="bnneck").eval()
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(found(images), trained(images))


# The name of the norm, how others begin, and how ours do.
BNNECKS = {
    "reid-strong-baseline": {
        "classifier.add_block.0.": "bottleneck.",
        "classifier.classifier.0.": "classifier.",
    },
    "fast-reid": {
        "classifier.add_block.0.": "heads.bottleneck.0.",
        "classifier.classifier.0.": "heads.",
        "pooling.": "heads.pool_layer.",
    },
}


@pytest.mark.parametrize(
    ("program", "backbone"), [("reid-strong-baseline", "base."), ("fast-reid", "backbone.")]
)
def test_the_neck_of_another_program_is_loaded(program, backbone, tmp_path, capsys):
    """Its feature is the one after the norm."""
    pool = ["--pool", "gemp"] if program == "fast-reid" else []
    spec = NetworkOptions(backbone="resnet18", neck="bnneck", pool="gemp" if pool else None)
    trained = build_network(spec, 5, weights="none").eval()
    with torch.no_grad():
        for value in trained.classifier.add_block.state_dict().values():
            value.add_(2)
    file = tmp_path / "their.pth"
    names = {"model.": backbone, **BNNECKS[program]}
    state = {}
    for name, value in trained.state_dict().items():
        begin = next(begin for begin in names if name.startswith(begin))
        state[name.replace(begin, names[begin], 1)] = value
    torch.save({"model": state}, file)
    words = ["--backbone", "resnet18", "--weights", str(file), "--neck", "bnneck", *pool]
    images = torch.randn(2, 3, 64, 32)
    found = load_network(tested_network(parse(TestConfig, words))).eval().embed(images)
    torch.testing.assert_close(found, trained.embed(images))
    report = load_weights(build_network(spec, 5, weights="none"), file)
    assert not report.missing
    assert not report.unknown


@pytest.mark.parametrize(
    "name", ["swin_tiny", pytest.param("swinv2_tiny_window8_256", marks=pytest.mark.slow)]
)
def test_a_swin_of_an_earlier_timm_is_the_same(name, tmp_path):
    """timm 0.6 merged patches at the end of a stage, and kept what it computes."""
    trained = create_model(name, weights="none", size=(256, 256)).model
    state = {
        re.sub(
            r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key
        ): value
        for key, value in trained.state_dict().items()
    }
    assert "layers.0.downsample.norm.weight" in state
    assert "layers.3.downsample.norm.weight" not in state
    state |= {
        f"layers.0.blocks.1.{key}": torch.ones(1)
        for key in ("attn_mask", "attn.relative_position_index")
    }
    torch.save(under("model.", state), tmp_path / "old.pth")
    fresh = create_model(name, weights="none", size=(256, 256))
    report = load_weights(fresh, tmp_path / "old.pth", strict=True)
    assert not report.unknown
    assert all(
        torch.equal(value, fresh.model.state_dict()[key])
        for key, value in trained.state_dict().items()
    )


def test_a_file_older_than_the_counters_of_norms_is_complete(tmp_path):
    trained = create_model("resnet18", 5, weights="none")
    state = {
        key: value
        for key, value in trained.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "net_59.pth")
    report = load_weights(
        create_model("resnet18", 5, weights="none"), tmp_path / "net_59.pth", strict=True
    )
    assert len(report.loaded) == len(state)
    assert not report.missing


def test_a_swin_of_mmdetection_has_timms_names_and_tables():
    names = {
        "layers.": "stages.",
        ".attn.": ".attn.w_msa.",
        ".mlp.fc1.": ".ffn.layers.0.0.",
        ".mlp.fc2.": ".ffn.layers.1.",
        "patch_embed.proj.": "patch_embed.projection.",
    }
    with torch.device("meta"):
        own = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0).state_dict()
    theirs = {
        "semantic_embed_w.0.weight": torch.ones(1),
        "backbone.norm3.weight": own.pop("norm.weight"),
    }
    theirs["backbone.norm3.bias"] = own.pop("norm.bias")
    for name, value in own.items():
        for ours, other_name in names.items():
            name = name.replace(ours, other_name)
        for stage in (1, 2, 3):
            name = name.replace(f"stages.{stage}.downsample", f"stages.{stage - 1}.downsample")
        theirs[f"backbone.{name}"] = value
    translated = timm_names_of_mmdetection(theirs)
    expected = {f"backbone.{name}" for name in [*own, "norm.weight", "norm.bias"]} | {
        "semantic_embed_w.0.weight"
    }
    assert translated.keys() == expected


def test_merged_patches_of_mmdetection_are_put_into_timms_order():
    merging = timm.models.swin_transformer.PatchMerging(dim=6, out_dim=5)
    norm, reduction = nn.LayerNorm(24), nn.Linear(24, 5, bias=False)
    nn.init.normal_(norm.weight)
    state = under("stages.0.downsample.norm.", norm.state_dict())
    state |= under("stages.0.downsample.reduction.", reduction.state_dict()) | {
        "stages.0.x.w_msa.y": torch.ones(1)
    }
    translated = timm_names_of_mmdetection(state)
    merging.load_state_dict(
        {k.removeprefix("layers.1.downsample."): v for k, v in translated.items() if "down" in k}
    )
    images = torch.randn(2, 6, 8, 4)
    # (B, h·w, channel · row · column), as mmdetection does
    gathered = nn.functional.unfold(images, 2, stride=2).mT
    expected = reduction(norm(gathered)).unflatten(1, (4, 2))
    torch.testing.assert_close(merging(images.permute(0, 2, 3, 1)), expected)
