"""Networks by name, with the fields of NetworkOptions as arguments."""

import copy

import pytest
import torch

from person_reid.config.network import HEAD_NAMES as OPTIONS
from person_reid.config.network import NetworkOptions
from person_reid.config.zoo import zoo
from person_reid.errors import UserError
from person_reid.losses import LOSS_OF_HEAD
from person_reid.models.factory import check_network, create_model
from person_reid.models.network import check_size

VIT = "vit_tiny_patch16_224"  # its position embedding shows the size it was built for


def test_the_size_is_a_pair_or_two_settings():
    networks = [
        create_model(VIT, weights="none", **size)
        for size in ({"size": (64, 32)}, {"height": 64, "width": 32})
    ]
    assert [network.state_dict()["model.pos_embed"].shape[1] for network in networks] == [
        1 + 4 * 2
    ] * 2
    with pytest.raises(UserError, match="size and height or width at once"):
        create_model(VIT, weights="none", size=(64, 32), height=64)


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match="no option 'num_class'. Did you mean 'num_classes'"):
        create_model("test_resnet", num_class=3)
    with pytest.raises(UserError, match="no option 'pol'. Did you mean 'pool'"):
        create_model("resnet18", weights="none", pol="gem")


def test_an_unknown_head_is_refused_and_each_known_one_has_a_loss():
    with pytest.raises(
        UserError,
        match="head=arcfase: expected one of linear, .*, circle. Did you mean 'arcface'?",
    ):
        create_model("resnet18", 3, weights="none", head="arcfase")
    assert tuple(LOSS_OF_HEAD) == OPTIONS


def test_weights_may_be_a_path(tmp_path):
    trained = create_model("osnet_x0_25", weights="none")
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    network = create_model("osnet_x0_25", weights=tmp_path / "net.pth")
    assert torch.equal(next(network.parameters()), next(trained.parameters()))


@pytest.mark.parametrize("batch_size", [None, 8])
def test_trying_a_size_leaves_weights_statistics_and_random_numbers_as_they_were(batch_size):
    network = create_model("resnet18", 3, linear_num=8, weights="none")
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    check_size(network, "resnet18", (64, 32), batch_size)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_seed_decides_the_random_weights():
    def weight(**seed):
        return create_model("test_resnet", 3, size=(32, 16), **seed).classifier.add_block[0].weight

    assert torch.equal(weight(), weight())
    assert torch.equal(weight(), weight(seed=0))
    assert not torch.equal(weight(), weight(seed=1))
    torch.manual_seed(0)
    assert torch.equal(weight(seed=None), weight(seed=0))
    assert not torch.equal(weight(seed=None), weight(seed=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neck": "bnneck", "linear_num": 256}, "linear_num=256 means nothing to neck=bnneck"),
        ({"PCB": True, "linear_num": 256}, "linear_num=256 means nothing to PCB"),
        ({"attention": "se"}, "attention=se: se needs a place"),
        ({"name": "resnet5O"}, "backbone=resnet5O: unknown network. Did you mean 'resnet50'"),
        ({"name": "vit_tiny_patch16_224", "stride": 1}, "stride=1 has no meaning for vit_tiny"),
    ],
)
def test_what_makes_no_network_is_said_in_words_of_python(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        create_model(**{"name": "test_resnet", **arguments})
    assert "--" not in str(error.value)


def test_every_published_network_has_the_options_that_it_needs_and_no_others():
    for entry in zoo().values():
        if not entry.note:
            check_network(NetworkOptions.of(entry.options))
