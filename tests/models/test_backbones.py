import json
from functools import cache
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from timm.layers import DropPath
from torch import nn

from person_reid.errors import UserError
from person_reid.models.architecture import list_models
from person_reid.models.factory import ARCHITECTURES, create_model, find_architecture
from person_reid.models.network import unused_classifiers
from tests.support.networks import built

VARIANTS = {  # of families whose other members are tested every day
    "convnext_base", "convnext_small", "dinov3_vit_base", "efficientnet_b1", "efficientnet_b2",
    "efficientnet_b3", "efficientnet_b4", "mobilenetv3_large", "nasnetalarge", "osnet_ain_x0_25",
    "osnet_ain_x0_5", "osnet_ain_x0_75", "osnet_ibn_x1_0", "osnet_x0_5", "osnet_x0_75",
    "regnety_016", "resnet101", "resnet101_ibn_a", "resnet101_ibn_b", "resnet152", "resnet34",
    "resnet50_ibn_b", "resnet50d", "resnext50", "seresnext50", "swin_base", "swin_small",
    "swinv2_base", "tf_efficientnet_b0", "vit_base", "wide_resnet50_2",
}  # fmt: skip


def every_day(names):
    """Names as parameters, those of VARIANTS for `make test-slow` alone."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow) if name in VARIANTS else name for name in names]


@cache
def on_meta(name, **settings):
    """A module without numbers, its entry, and images of its size."""
    with torch.device("meta"):
        module, entry = built(name, **settings)
        return module.eval(), entry, torch.zeros(2, 3, *entry.size)


@pytest.mark.parametrize("name", every_day(ARCHITECTURES))
def test_every_network_builds_and_runs_at_its_own_size(name):
    module, entry, images = on_meta(name)
    shapes = []

    def pooling(maps):
        shapes.append(maps.shape)
        return maps.amax((2, 3))

    assert entry.feature(module, images, pooling).shape == (2, entry.dim)
    assert len(shapes[0]) == 4
    assert shapes[0][:2] == (2, entry.channels)
    if entry.own_feature:
        assert entry.feature(module, images).shape == (2, entry.dim)
    assert entry.licence() not in ("", "unknown")
    assert (
        "Download http" in entry.source()
        or "https://" in entry.source()
        or "hf download" in entry.source()
    )


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_100", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_any_timm_network_is_a_backbone_at_the_shape_of_a_person(name):
    check_embedding(name, (128, 64))


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "shufflenet_v2_x0_5", "googlenet", "regnet_y_400mf", "squeezenet1_1"]
)
def test_any_torchvision_network_is_a_backbone(name):
    check_embedding(name, (64, 32))


def test_a_torchvision_network_without_weights_of_the_usual_kind_says_so():
    with pytest.raises(
        UserError, match="no weights IMAGENET1K_V1 of vit_h_14, only IMAGENET1K_SWAG_E2E_V1"
    ):
        on_meta("vit_h_14", pretrained=True)


def test_googlenet_is_the_same_from_random_weights_and_from_trained_ones(monkeypatch):
    trained = torchvision.models.googlenet(weights=None, init_weights=False)
    weights = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: trained.state_dict())
    pretrained, random = (built("googlenet", pretrained=each)[0].eval() for each in (True, False))
    # PyTorch's own initial values; torchvision's are so small that the network hardly learns.
    assert random.conv1.conv.weight.std().item() == pytest.approx((3 * 7 * 7 * 3) ** -0.5, rel=0.1)
    random.load_state_dict(pretrained.state_dict())
    images = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(random(images), pretrained(images))


def check_embedding(name, size):
    network = create_model(name, 5, linear_num=8, weights="none", size=size)
    features, logits = network(torch.randn(2, 3, *size))
    assert features.shape == (2, 8)
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert create_model(name, weights="none", size=size).dim == find_architecture(name).dim


# Maps of each of timm's layouts, patches of 14, tokens without a grid, a head that convolves after
# pooling, no map.
@pytest.mark.parametrize(
    "name, size, maps, dim",
    [
        ("convnext_atto", (256, 128), (2, 320, 8, 4), 320),
        ("mobilenetv3_small_050", (256, 128), (2, 288, 8, 4), 1024),
        ("swin_tiny_patch4_window7_224", (224, 224), (2, 768, 7, 7), 768),
        ("vit_small_patch14_dinov2", (252, 126), (2, 384, 18, 9), 384),
        ("mixer_s16_224", (224, 224), (2, 512, 196, 1), 512),
        ("coat_tiny", (224, 224), None, 152),
        # These cannot process images of the shape of a person.
        pytest.param("mvitv2_tiny", (224, 224), (2, 768, 49, 1), 768, marks=pytest.mark.slow),
        ("halonet26t", (256, 256), (2, 2048, 8, 8), 2048),
    ],
)
def test_the_layout_of_a_timm_network_is_found(name, size, maps, dim):
    module, entry, images = on_meta(name)
    assert entry.size == size
    assert entry.dim == dim == entry.feature(module, images).shape[1]
    assert (tuple(entry.feature_map(module, images).shape) if entry.has_map else None) == maps


def test_a_grid_of_patches_that_has_to_be_square_stays_so():
    _, entry, _ = on_meta("convit_tiny")
    assert (entry.size, entry.dim) == ((224, 224), 192)


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"]
)
def test_what_follows_the_mean_of_the_maps_is_timms_own_feature(name):
    module, entry = built(name)
    images = torch.randn(1, 3, *entry.size)
    with torch.inference_mode():
        pooled = entry.feature(module.eval(), images, lambda maps: maps.mean((2, 3)))
        torch.testing.assert_close(pooled, module(images))


def test_the_feature_of_patches_is_timms_own_such_as_the_class_token():
    module, entry = built("vit_small")
    images = torch.randn(1, 3, *entry.size)
    with torch.inference_mode():
        torch.testing.assert_close(entry.feature(module.eval(), images), module(images))


def test_a_network_without_maps_refuses_a_pooling():
    module, entry, images = on_meta("coat_tiny")
    with pytest.raises(UserError, match="This network has no feature map to pool; leave pool out"):
        entry.feature(module, images, lambda maps: maps.mean((2, 3)))


def test_every_name_of_an_earlier_timm_is_the_network_that_has_it_today(caplog):
    caplog.set_level("INFO", "person_reid")
    renamed = timm.models.get_deprecated_models()
    assert len(renamed) > 100
    for name in sorted(renamed)[:120:40]:
        assert find_architecture(name) == find_architecture(renamed[name])
        assert caplog.text.count(f"timm calls {name} {renamed[name]} now.") == 1
    # Its weights are gone.
    assert find_architecture("vit_base_patch32_224_sam") == find_architecture(
        "vit_base_patch32_224"
    )


def test_a_network_of_the_hub_is_found_in_the_cache_and_named_if_it_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--someone--small"
    (kept / "snapshots" / "1").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("1")
    config = {
        "architecture": "resnet18",
        "num_classes": 9,
        "pretrained_cfg": {"input_size": [3, 64, 64]},
    }
    (kept / "snapshots" / "1" / "config.json").write_text(json.dumps(config))
    network = create_model("hf-hub:someone/small", 3, weights="none").eval()
    assert network.embed(torch.zeros(1, 3, 64, 32)).shape == (1, 512)
    with pytest.raises(
        UserError, match=r"backbone=hf-hub:someone/else: no network .*hf download someone/else"
    ):
        create_model("hf-hub:someone/else", 3, weights="none")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """Its client tries again for most of a minute."""

    def refuse(*arguments):
        asked.append(arguments)
        raise OSError("no route to host")

    asked: list[tuple] = []
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("person_reid.models.published.hub.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match="could not be fetched"):
        create_model("mobilenetv3_small", 3, pretrained=True)
    assert len(asked) == 1
    assert asked[0][1] <= 5
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_names_are_listed_by_a_pattern():
    assert list_models() == list(ARCHITECTURES)
    assert list_models("osnet_x*") == ["osnet_x0_25", "osnet_x0_5", "osnet_x0_75", "osnet_x1_0"]
    assert list_models("nothing*") == []


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown network. Did you mean 'resnet50'"):
        create_model("resnet5O", 3, weights="none")


FAMILIES = (
    "resnet18", "resnet50", "resnext50", "resnet50_ibn_a", "resnet50_ibn_b", "resnet50d",
    "resnest50", "seresnet50", "seresnext50", "densenet121", "efficientnet_b0",
    "efficientnet_b4", "mobilenetv3_small", "mobilenetv3_large", "nasnetalarge",
    "convnext_base", "convnext_tiny", "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25",
    "clip_resnet50", "regnety_016", "tf_efficientnet_b0", "wide_resnet50_2",
)  # fmt: skip


@pytest.mark.parametrize("name", every_day(FAMILIES))
def test_stride_1_doubles_the_last_resolution_and_changes_no_key(name):
    module, _, _ = on_meta(name)
    kept, entry, images = on_meta(name, stride=1)
    assert {k: v.shape for k, v in kept.state_dict().items()} == {
        k: v.shape for k, v in module.state_dict().items()
    }
    height, width = (side // (8 if "osnet" in name else 16) for side in entry.size)
    lost = name == "densenet121"  # as published: the averages of two by two overlap
    assert entry.feature_map(kept, images).shape[2:] == (height - lost, width - lost)
    assert not any(
        layer.dilation != (1, 1) for layer in kept.modules() if isinstance(layer, nn.Conv2d)
    )


# timm trades the last stride for dilation where it is asked to; taking the dilation out again
# leaves --stride 1. The average in the shortcut of ResNet-D is of stride by stride positions in the
# paper, one by one here.
@pytest.mark.parametrize(
    "name", ["resnet18d", "resnest14d", "seresnet18", "convnext_atto", "mobilenetv2_035"]
)
def test_stride_1_is_the_same_network_without_its_last_stride(name):
    reference: Any = timm.create_model(name, num_classes=0, output_stride=16).eval()
    for layer in reference.modules():
        if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1):
            layer.dilation, layer.padding = (1, 1), tuple(side // 2 for side in layer.kernel_size)
    shortcut = (
        getattr(reference.layer4[0], "downsample", None) if hasattr(reference, "layer4") else None
    )
    if shortcut is not None and isinstance(shortcut[0], nn.AvgPool2d):
        shortcut[0] = nn.Identity()
    kept, entry = built(name, stride=1, size=(64, 32))
    kept.load_state_dict(reference.state_dict())
    images = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            entry.feature_map(kept.eval(), images), reference.forward_features(images)
        )


@pytest.mark.parametrize(
    "name", ["swin_base", "vit_small", "dinov3_vit_small", "hrnet_w18", "coat_tiny"]
)
def test_stride_1_is_refused_where_it_has_no_meaning(name):
    with pytest.raises(UserError, match=f"stride=1 has no meaning for {name}"):
        on_meta(name, stride=1)


def test_stride_1_is_refused_where_there_is_no_single_last_halving():
    words = r"stride=1, which PCB implies, .* images of 256×128: it has no single last halving"
    with pytest.raises(UserError, match=words):
        on_meta("hrnet_w18_small", stride=1)


@pytest.mark.parametrize("name", ["resnet50d", "convnext_tiny", "vit_small", "mobilenetv3_small"])
def test_drop_path_reaches_the_blocks(name):
    module, _, _ = on_meta(name, drop_path=0.3)
    rates = [layer.drop_prob for layer in module.modules() if isinstance(layer, DropPath)]
    assert max(rates) == pytest.approx(0.3, abs=0.05)
    assert rates == sorted(rates)


def test_the_published_networks_skip_their_deepest_block_in_every_fifth_step():
    for name in ("swinv2_base", "dinov3_vit_base", "convnext_base"):
        module, _, _ = on_meta(name)
        rates = [layer.drop_prob for layer in module.modules() if isinstance(layer, DropPath)]
        assert max(rates) == pytest.approx(0.2), name
    module, _, _ = on_meta("efficientnet_b4")
    assert module._global_params.drop_connect_rate == 0.2


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18", "osnet_x0_25"])
def test_drop_path_is_refused_where_the_network_has_none(name):
    with pytest.raises(UserError, match=f"drop_path=.*: {name} has no stochastic depth"):
        on_meta(name, drop_path=0.3)


def test_imagenet_weights_that_cannot_be_had_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth into .*checkpoints.*random weights"):
        create_model("resnet18", 3, pretrained=True)
    with pytest.raises(UserError, match=r"resnet50_ibn_b-\w+\.pth into .*checkpoints"):
        create_model("resnet50_ibn_b", 3, pretrained=True)
    with pytest.raises(
        UserError,
        match=r"hf download timm/mobilenetv3_small_100.*models--timm--mobilenetv3_small_100",
    ):
        create_model("mobilenetv3_small", 3, pretrained=True)
    with pytest.raises(
        UserError, match=r"checkpoints.osnet_x0_25_imagenet\.pth: no such file.*model zoo"
    ):
        create_model("osnet_x0_25", 3, pretrained=True)


def test_osnets_imagenet_weights_are_found_where_the_message_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trained = create_model("osnet_x0_25", weights="none").model.state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    saved = {f"module.{name}": value for name, value in trained.items()} | {
        "module.classifier.bias": torch.ones(1000)
    }
    torch.save(saved, folder / "osnet_x0_25_imagenet.pth")
    loaded = create_model("osnet_x0_25", 3, weights="imagenet").model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in trained.items())


def test_ibn_has_the_authors_names_and_norms():
    variants = [
        on_meta(name)[0].state_dict().keys()
        for name in ("resnet50", "resnet50_ibn_a", "resnet50_ibn_b")
    ]
    plain, first, second = variants
    assert {
        "layer1.0.bn1.IN.weight",
        "layer3.5.bn1.BN.running_var",
        "layer4.0.bn1.running_var",
        "bn1.running_var",
    } <= first
    added = {f"{block}.IN.{of}" for block in ("layer1.2", "layer2.3") for of in ("weight", "bias")}
    assert second - plain == added
    assert plain - second == {"bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"}


def test_ibn_b_normalises_each_image_after_its_second_stage():
    module: Any = built("resnet50_ibn_b")[0]
    norm = module.layer2[-1].IN
    seen = []
    norm.register_forward_hook(lambda layer, inputs, output: seen.append(output.clone()))
    module.eval()
    with torch.inference_mode():
        maps = module.layer2(torch.randn(2, 256, 8, 8))
    assert torch.equal(maps, seen[0].relu())
    torch.testing.assert_close(seen[0].mean((2, 3)), torch.zeros(2, 512), atol=1e-5, rtol=0)


def test_osnet_starts_as_its_authors_code_does():
    module: Any = built("osnet_x1_0")[0]
    block = module.conv4[0]
    assert module.conv5.conv.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert block.conv2a.conv2.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.1)
    assert module.fc[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not any(layer.bias.any() for layer in (block.gate.fc1, block.gate.fc2, module.fc[0]))


def test_osnet_ain_has_the_authors_names():
    names = on_meta("osnet_ain_x1_0")[0].state_dict().keys()
    assert {
        "conv1.bn.weight", "conv2.0.conv2.3.layers.3.conv2.weight", "conv2.0.gate.fc1.bias",
        "conv2.0.IN.weight", "conv2.0.downsample.bn.running_mean", "pool2.0.conv.weight",
        "conv3.0.conv3.bn.weight", "conv3.1.IN.bias", "pool3.0.bn.weight", "conv4.0.IN.weight",
        "conv4.1.conv3.bn.bias", "conv5.bn.weight", "fc.0.weight",
    } <= names  # fmt: skip
    absent = {
        "conv1.bn.running_mean",
        "conv2.0.conv3.bn.weight",
        "conv3.0.IN.weight",
        "conv4.1.IN.weight",
    }
    assert not absent & names


def test_imagenet_classifier_is_kept_for_its_keys_but_not_trained():
    network = create_model("resnet18", 3, weights="none")
    assert "model.fc.weight" in network.state_dict()
    assert not network.model.fc.weight.requires_grad
    network.model.fc = nn.Linear(512, 256)  # a layer of that name, but not an ImageNet classifier
    assert unused_classifiers(network) == []


def test_the_layers_of_a_custom_module_are_trained_whatever_their_names():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1000)

        def forward(self, images):
            return self.fc(images.mean((2, 3)))

    assert create_model(Own(), 3, size=(32, 16)).model.fc.weight.requires_grad
