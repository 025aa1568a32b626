import numpy as np
import pytest
import torch
from torch import nn

from person_reid.config.network import NetworkOptions
from person_reid.errors import UserError
from person_reid.models.architecture import Architecture
from person_reid.models.factory import create_model
from person_reid.models.network import PlainNetwork
from person_reid.show.heatmap import (
    activations,
    feature_maps,
    heat_rows,
    on_grid,
    overlay,
    parts_of,
    stretched,
)
from person_reid.show.sheet import Tile

SIZE = (64, 32)


def images_of(size=SIZE, number=2):
    return torch.randint(
        0, 256, (number, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def normalised(bank):
    from person_reid.data.images.augment import normalise

    return normalise(bank)


def test_the_heat_is_the_energy_of_the_map():
    """A backbone whose map is known: two channels on a grid of 4 × 2."""
    maps = torch.zeros(1, 2, 4, 2)
    maps[0, :, 1, 0] = torch.tensor([3.0, -4.0])  # energy 25
    maps[0, :, 3, 1] = torch.tensor([0.0, 2.0])  # energy 4

    class Known(Architecture):
        def feature_map(self, module, images):
            return maps

    entry = Known("known", 2)
    network = PlainNetwork(nn.Identity(), entry, NetworkOptions())
    heat = activations(network, images_of((32, 16), 1))[""]
    assert heat.shape == (1, 32, 16)
    assert heat.min() == 0
    assert heat.max() == 1
    cells = heat[0].reshape(4, 8, 2, 8).mean((1, 3))
    assert cells.argmax() == 2  # (1, 0)
    assert cells.flatten().argsort()[-2] == 7  # (3, 1)
    assert heat[0, 12, 4] > 0.85
    assert heat[0, 28, 12] == pytest.approx(4 / 25, abs=0.05)


def test_stripes_are_stretched_one_by_one_and_flat_maps_are_cold():
    heat = torch.arange(24.0).view(1, 6, 4)
    np.testing.assert_allclose(
        stretched(heat, 6)[0], np.tile(np.linspace(0, 1, 4), (6, 1)), atol=1e-6
    )
    np.testing.assert_allclose(stretched(heat)[0], heat[0] / 23, atol=1e-6)
    assert (stretched(torch.ones(2, 4, 4)) == 0).all()


@pytest.mark.parametrize(
    ("size", "patch", "prefix", "known"),
    [
        ((256, 128), 16, 0, None),
        ((256, 128), 16, 1, 1),
        ((256, 128), 16, 5, None),
        ((224, 224), 32, 1, None),
        ((252, 126), 14, 1, None),
        ((64, 32), 16, 5, 5),
        ((384, 128), 16, 2, 2),
    ],
)
def test_tokens_return_to_their_grid(size, patch, prefix, known):
    height, width = size[0] // patch, size[1] // patch
    places = torch.arange(height * width).float()
    tokens = torch.cat([torch.full((prefix,), -1.0), places])[None, None, :, None].expand(
        2, 3, -1, -1
    )
    maps = on_grid(tokens, size, known)
    assert maps.shape == (2, 3, height, width)
    for row in range(height):
        for column in range(width):
            assert (maps[:, :, row, column] == row * width + column).all()


def test_a_map_is_no_row_of_tokens_and_tokens_that_are_no_grid_are_refused():
    maps = torch.rand(2, 3, 4, 2)
    assert on_grid(maps, SIZE) is maps
    assert on_grid(torch.rand(2, 3, 4, 1), (128, 32)).shape == (2, 3, 4, 1)
    with pytest.raises(UserError, match="no grid of square patches"):
        on_grid(torch.rand(1, 3, 100, 1), (256, 128), 1)


@pytest.mark.parametrize(
    "backbone", ["osnet_x0_25", "mobilenetv3_small", "vit_tiny_patch16_224", "dinov3_vit_small"]
)
def test_the_mean_of_the_map_is_what_the_network_pools(backbone):
    network = create_model(backbone, weights="none", size=SIZE).eval()
    bank = images_of()
    with torch.inference_mode():
        maps = feature_maps(network, normalised(bank))[""]
        entry = network.architecture
        whole = entry.feature_map(network.model, normalised(bank))
    assert maps.shape[2:] == ((2, 1) if backbone == "mobilenetv3_small" else (4, 2))
    assert maps.shape[1] == entry.channels
    prefix = whole.shape[2] - maps[0, 0].numel() if backbone == "dinov3_vit_small" else 0
    assert prefix in (0, 5)
    torch.testing.assert_close(maps.flatten(2), whole.flatten(2)[:, :, prefix:])
    assert activations(network, bank)[""].shape == (2, *SIZE)


def test_usam_and_branches_show_the_maps_that_they_pool():
    images = normalised(images_of((128, 64)))
    with torch.inference_mode():
        usam = create_model("resnet18", weights="none", usam=True).eval()
        torch.testing.assert_close(
            usam.pooling(feature_maps(usam, images)[""]), usam.pooled(images)
        )
        light = create_model("lightmbn", weights="none").eval()
        maps = feature_maps(light, images)
        assert list(maps) == ["global", "partial", "channel"]
        torch.testing.assert_close(light.average(maps["global"]), light.pooled(images)[0])
        torch.testing.assert_close(light.largest(maps["partial"]), light.pooled(images)[2])


def test_of_an_opaque_network_the_last_layer_with_positions_is_shown():
    network = create_model("shufflenet_v2_x0_5", weights="none").eval()  # torchvision's
    assert not network.architecture.has_map
    maps = feature_maps(network, normalised(images_of()))[""]
    with torch.inference_mode():
        torch.testing.assert_close(maps.mean((2, 3)), network.embed(normalised(images_of())))
    assert maps.shape[2:] == (2, 1)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_of_an_opaque_network_without_positions_there_is_none():
    entry = Architecture("", 3, own_feature=True, has_map=False)
    network = PlainNetwork(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), entry, NetworkOptions()
    )
    with pytest.raises(UserError, match="no heat map"):
        feature_maps(network, normalised(images_of()))


def test_the_overlay_is_grey_where_it_is_cold_and_bright_where_it_is_hot():
    pixels = np.full((20, 10, 3), (200, 40, 90), np.uint8)
    heat = np.zeros((20, 10))
    heat[:10] = 1
    hot = overlay(pixels, heat).astype(int)
    assert hot.shape == pixels.shape
    assert hot[2].mean() > hot[17].mean() + 60
    assert np.ptp(hot[17, 5]) < 10
    assert overlay(pixels, np.zeros((4, 2))).shape == pixels.shape


def test_pcb_has_a_row_cut_into_its_stripes_and_branches_have_a_row_each():
    pcb = create_model("osnet_x0_25", weights="none", PCB=True)
    assert parts_of(pcb) == 6
    bank = images_of((192, 64))
    tiles = [Tile(image.numpy(), above=str(i)) for i, image in enumerate(bank)]
    photographs, hot = heat_rows(pcb, tiles, bank, title="Query 1")
    assert photographs.tiles == tiles
    assert photographs.title == "Query 1"
    assert hot.tiles[0].lines == [i / 6 for i in range(1, 6)]
    light = create_model("lightmbn", weights="none")
    rows = heat_rows(light, tiles, bank)
    assert [row.title for row in rows[1:]] == [
        "Branch: global",
        "Branch: partial",
        "Branch: channel",
    ]
    assert not any(tile.lines for row in rows for tile in row.tiles)
