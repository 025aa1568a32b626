import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from person_reid.config.tested import parse_scales
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.progress import progress
from person_reid.retrieval.features import extract_features, fused_embedding, on_device

CPU = torch.device("cpu")


def network(name="osnet_x0_25"):
    """Short features, and no batch norm behind them that would give all of them one length.

    The other batch norms have statistics of their own, as after training.
    """
    torch.manual_seed(0)
    built = create_model(
        name, 5, weights="none", size=(64, 32), neck="linear", linear_num=16, droprate=0, seed=None
    ).train()
    with torch.no_grad():
        for _ in range(3):
            built(2 * torch.randn(8, 3, 64, 32) + 1)
    return built.eval()


@pytest.fixture(scope="module")
def bank():
    return torch.randint(
        0, 256, (7, 64, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@torch.inference_mode()
def slow_features(embed, bank, scales, flip):
    """One image at a time, straight from the definition."""
    rows = []
    for pixels in bank:
        image, total = normalise(pixels[None]), torch.zeros(1)
        for scale in scales:
            for view in [image, image.flip(3)] if flip else [image]:
                if scale != 1:
                    view = torch.nn.functional.interpolate(view, scale_factor=scale, mode="bicubic")
                total = total + embed(view)
        rows.append(total[0].numpy())
    return unit(np.stack(rows))


@pytest.mark.parametrize(
    "name",
    [
        "osnet_x0_25",
        "resnet18",
        pytest.param("densenet121", marks=pytest.mark.slow),
        "mobilenetv3_small_100",
    ],
)
def test_fusing_leaves_the_features(name, bank):
    plain = network(name)
    with torch.inference_mode():
        expected, before = plain.embed(normalise(bank)), copy.deepcopy(plain.state_dict())
        fused = fused_embedding(plain, CPU)(normalise(bank))
    torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "osnet_x0_25", "osnet_ain_x0_25"])
def test_fusing_removes_the_norms_of_a_network_that_can_be_traced(name):
    fused = fused_embedding(network(name), CPU)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in fused.modules())


@pytest.mark.parametrize(
    ("scales", "flip"), [((1.0,), True), ((1.0,), False), ((1.0, 1.25), True), ((0.5, 1.5), False)]
)
def test_features_are_the_normalised_sum_over_flip_and_scales(scales, flip, bank):
    plain = network()
    found = extract_features(
        fused_embedding(plain, CPU, scales), bank, CPU, batch_size=3, flip=flip
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_features(plain.embed, bank, scales, flip), atol=1e-5)


def test_features_may_keep_the_length_that_the_network_gives_them(bank):
    embed = network().embed
    found, unit = (extract_features(embed, bank, CPU, 3, unit=unit) for unit in (False, True))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    assert lengths.std() > 1e-3 * lengths.mean()
    np.testing.assert_allclose(found / lengths, unit, atol=1e-6)
    with torch.inference_mode():
        views = normalise(bank), normalise(bank).flip(3)
        np.testing.assert_allclose(found, sum(embed(view) for view in views), rtol=1e-4, atol=1e-5)


def test_the_batch_size_makes_no_difference(bank):
    embed = network().embed
    one, all_at_once = (extract_features(embed, bank, CPU, size) for size in (1, 1000))
    np.testing.assert_allclose(one, all_at_once, atol=1e-5)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_and_returns_float32(dtype, bank):
    embed = network().embed
    exact, half = (extract_features(embed, bank, CPU, 4, dtype=kind) for kind in (None, dtype))
    assert half.dtype == np.float32
    assert not np.array_equal(exact, half)
    assert (exact * half).sum(1).min() > 0.995


def test_greyscale_photographs_give_features_too(tmp_path):
    Image.new("L", (20, 40), 90).save(tmp_path / "grey.png")
    features = extract_features(network().embed, load_bank([tmp_path / "grey.png"], 64, 32), CPU, 1)
    assert features.shape == (1, 16)
    assert np.isfinite(features).all()


def test_scales_are_square_roots_of_areas():
    assert parse_scales("1") == [1.0]
    assert parse_scales("1,1.21, 4") == pytest.approx([1.0, 1.1, 2.0])


@pytest.mark.parametrize("text", ["", "1,", "big", "0", "1,-1", "inf", "nan", "1e-9", "1,1e5"])
def test_scales_that_are_none_are_refused(text):
    with pytest.raises(UserError, match=r"ms=.*: expected numbers from 0\.1 to 10"):
        parse_scales(text)


class Chunk:
    """A stand-in for the images that a GPU is given."""

    def __init__(self, number):
        self.number = number

    def pin_memory(self):
        if self.number == 3:
            raise UserError("an image cannot be read")
        return self

    def to(self, device, non_blocking):
        return self.number


def test_a_gpu_gets_its_chunks_in_order_with_one_read_ahead():
    read: list[int] = []
    chunks: Any = (read.append(i) or Chunk(i) for i in range(3))  # type: ignore[func-returns-value]
    given = on_device(chunks, torch.device("cuda"))
    assert next(given) == 0
    assert len(read) <= 2
    assert list(given) == [1, 2]


def test_what_fails_while_a_gpu_computes_is_raised():
    chunks: Any = map(Chunk, range(5))
    given = on_device(chunks, torch.device("cuda"))
    assert [next(given) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="cannot be read"):
        next(given)


def test_the_bar_knows_how_many_images_there_are(bank, monkeypatch):
    told = []

    def noting(**options):
        told.append(options)
        return progress(**options)

    monkeypatch.setattr("person_reid.retrieval.features.progress", noting)
    extract_features(lambda images: images.flatten(1), bank, CPU, 3, description="query")
    assert told == [{"total": 7, "desc": "query", "unit": " images"}]
