import pytest
import torch

import model
from model import build_model, parameter_count
from reid.models.backbones import BACKBONES, find_backbone
from utils import UserError

# Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019, table 6: millions of parameters.
OSNET_PARAMETERS = {"osnet_x1_0": 2.2, "osnet_x0_75": 1.3, "osnet_x0_5": 0.6, "osnet_x0_25": 0.2}


@pytest.mark.parametrize("name", OSNET_PARAMETERS)
def test_osnet_has_the_parameters_of_the_paper(name):
    assert round(parameter_count(build_model(name, None, weights="none")) / 1e6, 1) == OSNET_PARAMETERS[name]


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_any_timm_network_is_a_backbone_at_the_shape_of_a_person(name):
    check_embedding(name, (128, 64))


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x0_5"])
def test_any_torchvision_network_is_a_backbone(name):
    check_embedding(name, (64, 32))


def check_embedding(name, size):
    network = build_model(name, 5, linear_num=8, weights="none", size=size)
    features, logits = network(torch.randn(2, 3, *size))
    assert features.shape == (2, 8) and logits.shape == (2, 5)
    logits.sum().backward()
    assert build_model(name, None, weights="none", size=size).dim == find_backbone(name).dim


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown network. Did you mean 'resnet50'"):
        build_model("resnet5O", 3, weights="none")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "osnet_x0_25"])
def test_stride_1_doubles_the_last_resolution_and_changes_no_key(name):
    plain, kept = (build_model(name, 3, stride=stride, weights="none").eval() for stride in (2, 1))
    assert plain.state_dict().keys() == kept.state_dict().keys()
    kept.load_state_dict(plain.state_dict())
    shapes = [last_map(network) for network in (plain, kept)]
    assert shapes[1][2] >= 2 * shapes[0][2] - 1 and shapes[1][2] > shapes[0][2]


def last_map(network):
    """Shape of the last four-dimensional activation for one image of 64 × 32."""
    shapes = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: shapes.append(inputs[0].shape))
        for layer in network.modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    ]
    with torch.inference_mode():
        network.embed(torch.zeros(1, 3, 64, 32))
    for hook in hooks:
        hook.remove()
    return shapes[-1]


def test_stride_1_is_refused_where_it_has_no_meaning():
    with pytest.raises(UserError, match="--stride 1 has no meaning for swin_base"):
        build_model("swin_base", 3, stride=1, weights="none")


def test_imagenet_weights_that_cannot_be_had_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth into .*checkpoints.*--weights none"):
        build_model("resnet18", 3)
    with pytest.raises(UserError, match=r"resnet50_ibn_a-\w+\.pth into .*checkpoints"):
        build_model("resnet50_ibn_a", 3)
    with pytest.raises(UserError, match=r"hf download timm/hrnet_w18"):
        build_model("hrnet_w18", 3)
    with pytest.raises(UserError, match="model zoo"):
        build_model("osnet_x0_25", 3)


def test_model_script_lists_and_describes(capsys):
    model.main([])
    listing = capsys.readouterr().out
    assert all(name in listing for name in BACKBONES)
    model.main(["osnet_x0_25"])
    assert "osnet_x0_25: 0.85 M parameters, input 256×128, feature 512, identities 751" in capsys.readouterr().out


def test_imagenet_classifier_is_kept_for_its_keys_but_not_trained():
    network = build_model("resnet18", 3, weights="none")
    assert "model.fc.weight" in network.state_dict()
    assert not network.model.fc.weight.requires_grad
