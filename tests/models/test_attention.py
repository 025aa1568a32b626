"""Attention modules: what they compute, how large they are, and where they go."""

from typing import Any

import pytest
import torch
from timm.layers import SEModule

from person_reid.errors import UserError
from person_reid.models.attention import (
    ATTENTIONS,
    USAM,
    ChannelAttention,
    PositionAttention,
    parse_attention,
)
from person_reid.models.factory import create_model
from person_reid.models.heads import GeneralizedMeanPool

C, R = 64, 4  # channels, and those inside: a sixteenth
NORM = 2 * C
POSITION = 2 * (C * C // 8 + C // 8) + C * C + C + NORM  # query, key and value with biases, norm
PARAMETERS = {
    # Hu et al., CVPR 2018, equation 5: 2 C²/r, and the biases.
    "se": 2 * C * R + R + C,
    # Woo et al., ECCV 2018, section 3: the same MLP without biases; a 7×7 filter of two maps, and
    # its norm.
    "cbam": 2 * C * R + 2 * 7 * 7 + 2,
    # Cao et al., TPAMI 2020, figure 4d: C for the attention map, 2 C²/r, a layer norm inside, and
    # the biases.
    "gc": C + 1 + 2 * C * R + 2 * R + R + C,
    # Wang et al., CVPR 2018, figure 2: θ, φ, g and the way back, the norm, and the biases.
    "nonlocal": 4 * C * R + 3 * R + C + NORM,
    "usam": 2,
    # Fu et al., CVPR 2019, figure 3: C²/8 for query and key each, C² for the value; the channels'
    # attention has none.
    "fpb": POSITION + NORM,
    "plr": POSITION + 2 * C * R + R + C,
}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_module_has_the_parameters_of_its_paper_and_keeps_the_shape(kind):
    attention = ATTENTIONS[kind](C)
    assert sum(parameter.numel() for parameter in attention.parameters()) == PARAMETERS[kind]
    assert attention(torch.randn(2, C, 6, 4)).shape == (2, C, 6, 4)


@pytest.mark.parametrize("kind", ["gc", "nonlocal", "fpb"])
def test_a_residual_module_begins_as_the_identity(kind):
    maps = torch.randn(2, C, 6, 4)
    torch.testing.assert_close(ATTENTIONS[kind](C)(maps), maps)


def with_unit_norm(module):
    """In evaluation mode, with a norm that hands on what it gets, but for its eps."""
    torch.nn.init.ones_(module.norm.weight)
    return module.eval()


def test_position_attention_is_its_definition():
    module, maps = with_unit_norm(PositionAttention(16)), torch.randn(1, 16, 3, 2)
    query, key, value = (
        layer(maps)[0].flatten(1).T.tolist() for layer in (module.query, module.key, module.value)
    )
    expected = maps.flatten(2)[0].T.clone()
    for i, q in enumerate(query):
        energies = torch.tensor([sum(a * b for a, b in zip(q, k, strict=True)) for k in key])
        for weight, v in zip(energies.softmax(0), value, strict=True):
            expected[i] += weight * torch.tensor(v)
    torch.testing.assert_close(module(maps)[0].flatten(1).T, expected, rtol=1e-4, atol=1e-4)


def test_channel_attention_is_its_definition():
    module, maps = with_unit_norm(ChannelAttention(5)), torch.randn(1, 5, 3, 2)
    rows = maps[0].flatten(1)
    expected = rows.clone()
    for c in range(5):
        energies = torch.tensor([float(rows[c] @ rows[d]) for d in range(5)])
        expected[c] += sum(
            w * rows[d] for d, w in enumerate((energies.max() - energies).softmax(0))
        )
    torch.testing.assert_close(module(maps)[0].flatten(1), expected, rtol=1e-4, atol=1e-4)


def test_channels_are_compared_in_float32():
    """The products of whole maps are beyond float16."""
    maps = 100 * torch.randn(1, 5, 16, 8, generator=torch.Generator().manual_seed(0)).half()
    seen, halved = with_unit_norm(ChannelAttention(5)), with_unit_norm(ChannelAttention(5)).half()
    torch.testing.assert_close(halved(maps), seen(maps.float()).half(), rtol=1e-2, atol=0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weighs_channels_as_float32_does(dtype):
    """A training with --fp16 or --bf16 runs in autocast, which would round the products."""
    maps = 40 * torch.rand(2, 64, 16, 8, generator=torch.Generator().manual_seed(0))
    module = with_unit_norm(ChannelAttention(64)).train()
    expected = module(maps)
    with torch.autocast("cpu", dtype):
        found = module(maps)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind, second", [("fpb", ChannelAttention), ("plr", SEModule)])
@torch.inference_mode()
def test_positions_come_before_channels(kind, second):
    module, maps = ATTENTIONS[kind](C).eval(), torch.randn(2, C, 4, 3)
    parts = {type(part): part for part in module.children()}
    for part in parts.values():
        if hasattr(part, "norm"):
            with_unit_norm(part)
    expected = parts[second](parts[PositionAttention](maps))
    assert not torch.allclose(expected, parts[PositionAttention](parts[second](maps)))
    torch.testing.assert_close(module(maps), expected)


def test_usam_is_its_definition():
    module, maps = USAM().eval(), torch.randn(2, 3, 5, 4)
    total, expected = maps.sum(1), maps.clone()
    for b in range(2):
        for i in range(1, 4):
            for j in range(1, 3):
                z = (9 * total[b, i, j] - total[b, i - 1 : i + 2, j - 1 : j + 2].sum()) / (
                    1 + 1e-5
                ) ** 0.5
                expected[b, :, i, j] *= 1 + (z if z > 0 else z / 10)
    torch.testing.assert_close(module(maps), expected)


def test_usam_sums_many_channels_in_float32():
    maps = torch.full((1, 8192, 4, 3), 10.0, dtype=torch.float16)  # the sum is beyond float16
    torch.testing.assert_close(USAM().eval()(maps), maps)


def test_usam_weighs_in_float32_inside_autocast():
    module, maps = USAM().eval(), torch.randn(2, 3, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(maps)
    torch.testing.assert_close(found, module(maps))


@pytest.mark.parametrize(
    ("backbone", "places"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("osnet_x0_25", ["conv2", "conv3", "conv4"]),
        ("densenet121", ["features.transition1", "features.transition3"]),
        ("mobilenetv3_small_100", ["blocks.2", "blocks.5"]),
    ],
)
def test_attention_at_every_stage_changes_the_feature_and_no_other_name(backbone, places):
    plain = create_model(backbone, weights="none", size=(64, 32))
    attended = create_model(
        backbone, weights="none", size=(64, 32), attention="se:" + ",".join(places)
    )
    names, new = set(plain.state_dict()), set(attended.state_dict())
    assert names <= new
    assert {name.split(".se.")[0] for name in new - names} == {f"model.{place}" for place in places}
    for place in places:
        fc = attended.model.get_submodule(f"{place}.se.fc2")
        torch.nn.init.constant_(fc.bias, 100.0)  # every gate open
    attended.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        feature = plain.eval().embed(images)
        torch.testing.assert_close(attended.eval().embed(images), feature, rtol=1e-3, atol=1e-4)
        for place in places:
            bias = attended.model.get_submodule(f"{place}.se.fc2").bias
            bias.fill_(-1.0)
            assert not torch.allclose(attended.embed(images), feature, rtol=1e-3, atol=1e-5), place
            bias.fill_(100.0)


def test_kinds_and_places_are_read_in_order():
    assert parse_attention("cbam:layer3, layer4; se:layer2") == [
        ("cbam", "layer3"),
        ("cbam", "layer4"),
        ("se", "layer2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cbm:layer3", "unknown kind 'cbm'. Did you mean 'cbam'. Known are se, cbam, gc"),
        ("se", "se needs a place, such as se:layer3"),
        ("se:layer3,", "se needs a place"),
        ("se:layer3;se:layer3", "the same kind twice in one place"),
        (
            "se:layer5",
            "no stage 'layer5'. Did you mean 'layer4'. Known are layer1, layer2, layer3, layer4",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        create_model("resnet18", weights="none", size=(64, 32), attention=text)


def test_looking_for_the_places_leaves_the_statistics_of_norms():
    state = create_model(
        "resnet18", weights="none", size=(64, 32), attention="se:layer4"
    ).state_dict()
    variances = [value for name, value in state.items() if name.endswith("running_var")]
    assert len(variances) == 20
    assert all((variance == 1).all() for variance in variances)


@pytest.mark.parametrize(
    ("backbone", "size"), [("vit_tiny_patch16_224", (64, 32)), ("mixer_s32_224", None)]
)
def test_a_network_of_tokens_has_no_stage_for_attention(backbone, size):
    with pytest.raises(UserError, match="no stages that attention fits"):
        create_model(backbone, weights="none", size=size, attention="se:blocks")


def test_published_attention_pools_as_asked():
    network: Any = create_model("resnet18", 3, weights="none", usam=True, pool="gem")
    assert isinstance(network.pooling, GeneralizedMeanPool)


def test_published_attention_is_for_resnets():
    with pytest.raises(UserError, match="usam is for the ResNets"):
        create_model("osnet_x0_25", 3, weights="none", usam=True)
