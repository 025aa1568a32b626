"""Networks by name, with the fields of NetworkSpec as arguments."""

import pytest
import torch

from person_reid.basics import UserError
from person_reid.models.factory import create_model

VIT = "vit_tiny_patch16_224"  # its position embedding shows the size it was built for


def test_the_size_is_a_pair_or_two_settings():
    networks = [create_model(VIT, weights="none", **size) for size in ({"size": (64, 32)}, {"height": 64, "width": 32})]
    assert [network.state_dict()["model.pos_embed"].shape[1] for network in networks] == [1 + 4 * 2] * 2
    with pytest.raises(UserError, match="size and height or width at once"):
        create_model(VIT, weights="none", size=(64, 32), height=64)


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match="no setting 'pol'. Did you mean 'pool'.*There are: height, width, linear_num"):
        create_model("resnet18", weights="none", pol="gem")


def test_weights_may_be_a_path(tmp_path):
    trained = create_model("osnet_x0_25", weights="none")
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    network = create_model("osnet_x0_25", weights=tmp_path / "net.pth")
    assert torch.equal(next(network.parameters()), next(trained.parameters()))
