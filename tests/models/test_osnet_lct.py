"""OSNet with linear context transforms: against the formulas, and against OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.deploy.engine import import_runtime
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from tests.support import REAL_DATA
from tests.support.openvino_files import random_constants, write_openvino

MODELS = {"0277": "osnet_lct_x1_0", "0287": "osnet_lct_x0_5"}


def openvinos_features(pixels, constants):
    """The features of images, uint8 (N, 256, 128, 3), by the layers of a file in their order.

    constants: the arrays. It knows no names, so it does not depend on how the reader names them.
    """
    values = iter([torch.from_numpy(array).double() for array in constants])

    def conv(x, stride=1, groups=1):
        kernel = next(values)
        kernel = kernel[:, 0] if kernel.ndim == 5 else kernel
        return functional.conv2d(
            x, kernel, stride=stride, padding=kernel.shape[2] // 2, groups=groups
        )

    def normalised(x, axes):
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    def affine(x):
        return x * next(values) + next(values)

    def folded(x):
        return conv(x) + next(values)

    def lite(x):
        return (conv(conv(x), groups=x.shape[1]) + next(values)).relu()

    def gate(x, weights, context):
        mean = x.mean((2, 3), keepdim=True)
        if context:
            groups = 16 if x.shape[1] % 16 == 0 else 8
            parts = normalised(mean.reshape(len(x), groups, -1), 2).view_as(mean)
            return x * (parts * weights[0] + weights[1]).sigmoid()
        hidden = (functional.conv2d(mean, weights[0]) + weights[1]).relu()
        return x * (functional.conv2d(hidden, weights[2]) + weights[3]).sigmoid()

    def block(x, context):
        squeezed = folded(x).relu()
        first = lite(squeezed)
        weights = [next(values) for _ in range(2 if context else 4)]
        total = gate(first, weights, context)
        for depth in (2, 3, 4):
            stream = squeezed
            for _ in range(depth):
                stream = lite(stream)
            total = total + gate(stream, weights, context)
        widened = folded(total)
        return (widened + (x if context else folded(x))).relu()

    bgr = pixels[..., [2, 1, 0]].permute(0, 3, 1, 2).double()
    x = (bgr[:, [2, 1, 0]] - next(values)) * next(values)
    x = affine(normalised(x, (2, 3)))
    x = affine(normalised(conv(x, stride=2), (2, 3))).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage in (2, 3, 4):
        x = folded(block(block(x, False), True)).relu()
        x = functional.avg_pool2d(x, 2) if stage < 4 else x
    pooled = ((x * next(values)[:, 0, 0]).sum((2, 3), keepdim=True) + next(values)).flatten(1)
    feature = pooled @ next(values).T + next(values)
    feature = affine(feature[..., None])[..., 0]
    slope = next(values).item()
    assert not list(values)
    return torch.where(feature > 0, feature, slope * feature)


def drawn_pixels(count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 256, 128, 3), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def features(file, backbone, pixels):
    """In double precision, because rounding grows in a network of random weights."""
    network = create_model(backbone, weights=file).eval().double()
    return network(normalise(pixels).double())


# At width 0.25, the gates of the second stage have 24 channels: 8 groups of 3.
@pytest.mark.parametrize("width, backbone", [(0.25, "osnet_lct_x0_25"), (0.5, "osnet_lct_x0_5")])
def test_a_file_gives_the_features_of_its_layers(width, backbone, tmp_path):
    constants, pixels = random_constants(width), drawn_pixels()
    file = write_openvino(tmp_path / "net.xml", constants)
    expected = openvinos_features(pixels, [array for _, array in constants])
    difference = (features(file, backbone, pixels) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max()
    halves = write_openvino(tmp_path / "half.xml", constants, half=True)
    difference = (features(halves, backbone, pixels) - expected).abs().max()
    assert 1e-4 < difference / expected.abs().max() < 2e-2


@pytest.mark.parametrize("number", MODELS)
def test_a_published_file_gives_the_features_that_openvino_computes(number, real_people):
    file = (
        REAL_DATA / "weights" / f"intel-{number}" / f"person-reidentification-retail-{number}.xml"
    )
    if not file.is_file():
        pytest.skip(f"no network of Intel's at {file}")
    pixels = load_bank(sorted(Path(real_people, "query").glob("*.jpg"))[:8], 256, 128)
    core = import_runtime("openvino").Core()
    compiled = core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = pixels.flip(3).permute(0, 3, 1, 2).float().numpy()
    expected = np.concatenate([compiled(image[None])[0] for image in images])
    computed = features(file, MODELS[number], pixels).numpy()
    assert np.abs(computed - expected).max() < 1e-4
    lengths = np.linalg.norm(computed, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((computed * expected).sum(1) / lengths).min() > 0.99999


def test_the_network_learns():
    network = create_model("osnet_lct_x0_25", 4, weights="none", size=(64, 32))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    images = torch.randn(8, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    labels, losses = torch.arange(8) % 4, []
    for _ in range(10):
        _, logits = network(images)
        losses.append(functional.cross_entropy(logits, labels).item())
        optimizer.zero_grad()
        functional.cross_entropy(logits, labels).backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    file = write_openvino(tmp_path / "net.xml", random_constants())
    with pytest.raises(UserError, match=r"net\.xml: the weights of another network"):
        create_model("osnet_lct_x0_5", weights=file)
    values = file.with_suffix(".bin")
    values.write_bytes(values.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"net\.bin: cut short, or not the file of net\.xml"):
        create_model("osnet_lct_x0_25", weights=file)
    values.unlink()
    with pytest.raises(UserError, match=r"net\.bin: no such file\. Put it beside net\.xml"):
        create_model("osnet_lct_x0_25", weights=file)
    with pytest.raises(UserError, match="has only the weights of its authors"):
        create_model("osnet_lct_x0_25", pretrained=True)


@pytest.mark.parametrize("content", ["<net>", "<net/>", "no network", '<layer type="Const"/>'])
def test_any_other_openvino_file_is_run_as_it_is(content, tmp_path):
    file = tmp_path / "other.xml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"an exported network.*--engine .*other\.xml"):
        create_model("osnet_lct_x0_25", weights=file)


def test_a_file_whose_layers_have_other_names_is_another_network(tmp_path):
    constants = random_constants()
    name, array = constants[4]
    assert name == "conv1.conv.weight"
    file = write_openvino(
        tmp_path / "net.xml", [*constants[:4], ("stem.weight", array), *constants[5:]]
    )
    with pytest.raises(UserError, match="an exported network"):
        create_model("osnet_lct_x0_25", weights=file)
