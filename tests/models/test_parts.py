"""PCB and LightMBN: their stripes and branches, their sizes, and the files that start them."""

import pytest
import torch

from person_reid.config.network import NetworkOptions
from person_reid.errors import UserError
from person_reid.models.factory import check_network, create_model, load_weights, parameter_count
from person_reid.models.heads import CosineClassifier
from person_reid.models.lightmbn import drop_top_rows
from person_reid.models.network import PCBNetwork
from person_reid.retrieval.features import extract_features, fused_embedding, unit_pieces
from person_reid.training.criterion import predicted
from tests.support.networks import built

SIZE = (64, 32)
CPU = torch.device("cpu")
NETWORKS: dict[str, dict] = {
    "PCB": dict(name="osnet_x0_25", PCB=True),
    "PCB, gemp": dict(name="resnet18", PCB=True, pool="gemp", head="arcface"),
    "LightMBN": dict(name="lightmbn"),
    "LightMBN, attention": dict(name="lightmbn", attention="gc:conv2,conv3,conv4", pool="gemp"),
}
# Parts, width, classifiers.
SHAPES = {"PCB": (6, 256, 6), "LightMBN": (3, 512, 7)}
# The sizes to which each reduces its test feature, in all and by piece.
FEATURES = {"PCB": (6 * 512, 6), "LightMBN": (7 * 512, 7)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_part_network_trains_whole_and_gives_its_features(name):
    torch.manual_seed(0)
    network = create_model(**NETWORKS[name], num_classes=5, weights="none", size=SIZE)
    images = torch.randn(2, 3, *SIZE)
    features, logits = network(images)
    parts, width, classifiers = SHAPES[name.split(",")[0]]
    assert features.shape == (2, parts, width) == (2, network.parts, network.metric_dim)
    assert logits.shape == (2, classifiers, 5)
    (features.sum() + logits.square().sum()).backward()
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [
        name for name, p in learning.items() if p.grad is None or not p.grad.isfinite().all()
    ] == []
    dim, pieces = FEATURES[name.split(",")[0]]
    with torch.inference_mode():
        assert network.eval().embed(images).shape == (2, dim) == (2, network.dim)
    assert network.pieces == pieces


def test_pcb_cuts_the_map_into_six_stripes():
    module, entry = built("resnet18")
    network = PCBNetwork(module, entry, NetworkOptions(), 5).eval()
    images = torch.randn(2, 3, 384, 64)
    with torch.inference_mode():
        maps = entry.feature_map(module, images)  # (2, 512, 12, 2)
        expected = [
            [[maps[b, c, 2 * s : 2 * s + 2].mean() for s in range(6)] for c in range(maps.shape[1])]
            for b in range(2)
        ]
        torch.testing.assert_close(network.embed(images), torch.tensor(expected).flatten(1))


def test_pcb_drops_some_of_what_its_heads_see_in_training(monkeypatch):
    network = create_model("resnet18", 5, weights="none", PCB=True, droprate=0.75)
    seen = []
    network.classifier0.register_forward_hook(lambda head, inputs, output: seen.append(inputs[0]))
    monkeypatch.setattr(network, "stripes", lambda images: torch.ones(4, 512, 6))
    network(torch.zeros(4, 3, *SIZE))
    assert seen[0].unique().tolist() == [0, 4]
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.75, abs=0.05)


def test_pcb_keeps_the_resolution_of_any_backbone():
    network = create_model("osnet_x0_25", 5, weights="none", PCB=True)
    with torch.inference_mode():
        assert network.architecture.feature_map(network.model, torch.zeros(1, 3, 96, 48)).shape[
            2:
        ] == (
            12,
            6,
        )


def test_pcb_cuts_the_map_of_a_backbone_that_cannot_keep_its_resolution():
    network = create_model("vit_small", 5, weights="none", size=(96, 32), PCB=True)
    with torch.inference_mode():
        assert network.eval().embed(torch.zeros(1, 3, 96, 32)).shape == (1, 384 * 6)


def test_each_stripe_of_a_feature_has_the_same_length():
    feature = torch.randn(3, 8 * 6)
    stripes = unit_pieces(feature, 6).view(3, 8, 6)
    for image, own in zip(feature.view(3, 8, 6), stripes, strict=True):
        for s in range(6):
            torch.testing.assert_close(
                own[:, s], image[:, s] / (sum(x * x for x in image[:, s]) * 6) ** 0.5
            )
    torch.testing.assert_close(unit_pieces(feature), feature / feature.norm(dim=1, keepdim=True))


def test_extraction_normalises_the_stripes_of_both_views_together():
    network = create_model("resnet18", 5, weights="none", size=SIZE, PCB=True)
    bank = torch.randint(0, 256, (3, *SIZE, 3), dtype=torch.uint8)
    stripes = extract_features(fused_embedding(network, CPU), bank, CPU, 2).reshape(3, 512, 6)
    torch.testing.assert_close(torch.from_numpy(stripes).norm(dim=1), torch.full((3, 6), 6**-0.5))


@pytest.mark.parametrize(("name", "classifiers"), [("lightmbn", 7), ("resnet18", 6)])
def test_a_head_with_a_margin_has_a_cosine_classifier_for_every_part(name, classifiers):
    with torch.device("meta"):
        network = create_model(name, 5, weights="none", head="circle", PCB=name == "resnet18")
    assert sum(isinstance(module, CosineClassifier) for module in network.modules()) == classifiers


def test_heads_predict_together():
    logits = torch.tensor([[[4.0, 3.9, 0.0], [0.0, 3.0, 0.0]], [[0.0, 1.0, 9.0], [0.0, 1.0, 0.0]]])
    assert predicted(logits).tolist() == [1, 2]
    of_probabilities = predicted(torch.tensor([[[4.0, 0.0, 0.0], [0.0, 3.9, -9.0]]]))
    assert of_probabilities.tolist() == [1]  # the sum of the logits is higher for 0
    assert predicted(logits[:, 0]).tolist() == [0, 2]


def test_lightmbn_shows_losses_what_enters_its_necks_and_classifies_what_leaves_them():
    network = create_model("lightmbn", 5, weights="none", size=SIZE).eval()
    with torch.inference_mode():
        images = torch.randn(2, 3, *SIZE)
        for neck in network.necks:
            neck.bn.running_var.uniform_(0.5, 1.5)
        (features, logits), pieces = network.outputs(images), network.embed(images).view(2, 512, 7)
        after = [neck.bn(features[:, i]) for i, neck in enumerate(network.necks[:3])]
        for i, neck in enumerate(network.necks[:3]):
            torch.testing.assert_close(pieces[:, :, i], after[i])
            torch.testing.assert_close(logits[:, i], neck.classifier(after[i]))


@pytest.mark.parametrize("training", [True, False])
def test_lightmbn_pools_the_body_its_parts_and_its_channels(training):
    """Rows are dropped in training alone."""
    network = create_model("lightmbn", 5, weights="none", size=SIZE).train(training)
    with torch.inference_mode():
        images = torch.randn(2, 3, *SIZE)
        shared = network.model["backbone"](images)
        body, part, channel = (
            network.model[f"{name}_branch"](shared) for name in ("global", "partial", "channel")
        )
        body = network.batch_drop_block["drop_batch_bottleneck"](body)
        dropped = drop_top_rows(body) if training else body
        expected = [body.mean((2, 3)), dropped.amax((2, 3)), part.amax((2, 3))]
        expected += [half.mean((2, 3)) for half in part.chunk(2, dim=2)]
        expected += [
            network.shared(group.mean((2, 3), keepdim=True)).flatten(1)
            for group in channel.chunk(2, dim=1)
        ]
        torch.testing.assert_close(network.pooled(images), expected, rtol=1e-4, atol=1e-5)
    assert network.shared[0].weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert network.necks[:5] == [network.get_submodule(f"reduction_{i}") for i in (0, 4, 1, 2, 3)]


def test_the_strongest_third_of_the_rows_is_dropped():
    maps = torch.rand(2, 3, 6, 4)
    maps[0, 1, 4, 2] = maps[0, 0, 1, 0] = maps[1, 2, 0, 3] = maps[1, 0, 5, 1] = 10.0
    expected = maps.clone()
    expected[0, :, [1, 4]] = expected[1, :, [0, 5]] = 0
    assert drop_top_rows(maps).equal(expected)
    # Maps of the usual height.
    assert (drop_top_rows(torch.rand(1, 3, 24, 8)) == 0).all(3).all(1).sum() == 8


def test_lightmbn_has_the_parameters_of_its_layers():
    """Counted from the layers: the paper gives no figure. OSNet x1.0 has 2.19 M, table 6: 2.2 M."""
    light = create_model("lightmbn", 751, weights="none")
    osnet = create_model("osnet_x1_0", weights="none").model
    trunk = sum(map(parameter_count, (osnet.conv1, osnet.conv2, osnet.conv3[0])))
    branch = sum(map(parameter_count, (osnet.conv3[1:], osnet.conv4, osnet.conv5)))
    block = parameter_count(osnet.conv4[1])
    necks = 5 * 512 * 512 + 7 * 512 + 256 * 512 + 2 * 512 + 7 * 512 * 751
    assert parameter_count(light) == trunk + 3 * branch + block + necks == 9_148_696


def test_a_file_of_the_backbone_starts_every_branch(tmp_path):
    trained = create_model("osnet_x1_0", 3, weights="none")
    torch.save(trained.model.state_dict(), tmp_path / "backbone.pth")
    torch.save(trained.state_dict(), tmp_path / "whole.pth")
    own = trained.model.state_dict()
    for file in ("backbone.pth", "whole.pth"):
        network = create_model("lightmbn", 3, weights="none")
        report = load_weights(network, tmp_path / file)
        assert not report.mismatched
        assert not [key for key in report.missing if key.startswith("model.")]
        state = network.model.state_dict()
        assert all(value.equal(own[network.base_name(key)]) for key, value in state.items())
        assert {network.base_name(key) for key in state} == {
            key for key in own if not key.startswith("fc.")
        }


def test_the_authors_files_of_lightmbn_load(tmp_path):
    trained, fresh = (create_model("lightmbn", classes, weights="none") for classes in (3, 0))
    names = {name: name.removeprefix("model.") for name in trained.state_dict()}
    assert {
        "backbone.0.conv.weight",
        "global_branch.0.1.conv1.conv.weight",
        "reduction_0.reduction.weight",
        "batch_drop_block.drop_batch_bottleneck.gate.fc1.weight",
        "shared.1.running_var",
        "reduction_ch_1.classifier.weight",
    } <= set(names.values())
    torch.save(
        {names[key]: value for key, value in trained.state_dict().items()}, tmp_path / "lmbn.pth"
    )
    report = load_weights(fresh, tmp_path / "lmbn.pth", strict=True)
    assert not report.missing
    assert not report.mismatched
    images = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fresh.eval().embed(images), trained.eval().embed(images))


@pytest.mark.parametrize("layers", [{"PCB": True}, {"backbone": "lightmbn"}])
@pytest.mark.parametrize("width", [0, 128])
def test_a_width_of_the_bottleneck_is_refused_by_networks_of_parts(layers, width):
    check_network(NetworkOptions(**layers))
    with pytest.raises(UserError, match=f"linear_num={width} means nothing to"):
        check_network(NetworkOptions(**layers, linear_num=width))
