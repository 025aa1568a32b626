"""State-dict keys, shapes and features of published networks, as the published code has them."""

import json

import numpy as np
import pytest
import torch

from benchmarks.support.filled_networks import filled
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.find import tested_network
from person_reid.deploy.load import load_network
from person_reid.models.factory import create_model

NETWORKS: dict[str, dict] = {
    "resnet50": dict(name="resnet50"),
    "resnet50_stride1": dict(name="resnet50", stride=1),
    "resnet50_linear0": dict(name="resnet50", linear_num=0),
    "resnet50_usam": dict(name="resnet50", usam=True),
    "PCB": dict(name="resnet50", PCB=True),
    "resnet50_ibn_a": dict(name="resnet50_ibn_a"),
    "densenet121": dict(name="densenet121"),
    "densenet121_stride1": dict(name="densenet121", stride=1),
    "hrnet_w18": dict(name="hrnet_w18"),
    "convnext_base": dict(name="convnext_base"),
    "swin_base_224": dict(name="swin_base"),
    "swinv2_base_256x128": dict(name="swinv2_base"),
    "dinov3_vit_base_256x128": dict(name="dinov3_vit_base"),
    "efficientnet_b4": dict(name="efficientnet_b4"),
    "nasnetalarge": dict(name="nasnetalarge"),
}


def as_published(network, name, fixtures):
    """Check keys and shapes and fill the weights in.

    Returns the images (B, 3, H, W) and the published features.
    """
    published = json.loads((fixtures / "models.json").read_text())["models"][name]
    state = network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published["state_dict"]

    def is_kept(key):
        return not state[key].is_floating_point() or any(part in key for part in published["kept"])

    network.load_state_dict(
        {key: v if is_kept(key) else filled(key, tuple(v.shape)) for key, v in state.items()}
    )
    images = torch.from_numpy(
        np.random.default_rng(0).normal(size=published["input"]).astype(np.float32)
    )
    expected = np.load(fixtures / "models.npz")[name]
    assert expected.shape == tuple(published["output"])
    return images, expected


# The large networks, whose weights take seconds to draw, and the variants of a family are compared
# before a release. The keys of all are compared in every run, and hrnet_w18 is below.
RELEASE = {
    "resnet50_stride1",
    "resnet50_linear0",
    "densenet121_stride1",
    "hrnet_w18",
    "convnext_base",
    "swin_base_224",
    "swinv2_base_256x128",
    "dinov3_vit_base_256x128",
    "nasnetalarge",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in RELEASE else name for name in NETWORKS],
)
def test_keys_shapes_and_features_are_the_published_ones(name, fixtures):
    network = create_model(**NETWORKS[name], num_classes=751, weights="none").eval()
    images, expected = as_published(network, name, fixtures)
    with torch.inference_mode():
        features = network.embed(images).numpy()
        trained, logits = network.outputs(images)
    assert features.shape == expected.shape
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    if network.parts == 1:
        np.testing.assert_allclose(
            trained.numpy(), features, rtol=0, atol=1e-5 * np.abs(expected).max()
        )
        assert logits.shape == (2, 751)
    else:
        assert trained.shape == (2, 6, 256)
        assert logits.shape == (2, 6, 751)


def test_a_published_run_with_an_ignored_stride_gives_the_published_features(fixtures, here):
    """Of one network; tests/console/test_options.py has the flags of all that ignored it."""
    written = create_model("hrnet_w18", num_classes=751, weights="none")
    images, expected = as_published(written, "hrnet_w18", fixtures)
    folder = here / "model" / "theirs"
    folder.mkdir(parents=True)
    torch.save(written.state_dict(), folder / "net_last.pth")
    (folder / "opts.yaml").write_text("name: theirs\nstride: 1\nuse_hr: true\n")
    network = load_network(tested_network(parse(TestConfig, ["--name", "theirs"])))
    with torch.inference_mode():
        features = network.eval().embed(images).numpy()
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_osnet_gives_the_features_of_the_published_network(fixtures, real_people):
    from person_reid.data.images.augment import normalise
    from person_reid.data.images.bank import load_bank

    weights = real_people.parent / "weights" / "osnet_x0_25_msmt17.pth"
    network = create_model("osnet_x0_25", weights=str(weights)).eval()
    expected = np.load(fixtures / "osnet_x0_25_msmt17.npz")
    bank = load_bank([real_people / "query" / name for name in expected["files"]], 256, 128)
    with torch.inference_mode():
        features = network.embed(normalise(bank)).numpy()
    scale = np.abs(expected["features"]).max()
    np.testing.assert_allclose(features, expected["features"], rtol=0, atol=1e-4 * scale)
