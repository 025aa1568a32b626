"""Necks and classifiers against their definitions, and every combination with a pooling."""

import itertools
from typing import Any

import pytest
import torch

from person_reid.config.network import HEAD_NAMES, NECK_NAMES, POOL_NAMES
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.models.heads import CosineClassifier, Head, LossFeature

SIZE = (64, 32)


def bnneck_feature(pooled, dimension, weight, training, mean, variance):
    """One dimension of a BNNeck's output, (B,): batch norm without a bias, by its definition."""
    values = [row[dimension].item() for row in pooled]
    if training:
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
    return torch.tensor([weight * (value - mean) / (variance + 1e-5) ** 0.5 for value in values])


@pytest.mark.parametrize("training", [True, False])
def test_bnneck_gives_losses_what_enters_it_and_the_classifier_what_leaves_it(training):
    head = Head(6, 4, neck="bnneck").train(training)
    norm: Any = head.add_block[0]
    classifier: Any = head.classifier[0]
    torch.nn.init.uniform_(norm.weight)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 1.5)
    means, variances = norm.running_mean.clone(), norm.running_var.clone()
    pooled = torch.randn(8, 6)
    features, logits = head(pooled)
    assert features is pooled
    columns = [
        bnneck_feature(
            pooled, d, norm.weight[d].item(), training, means[d].item(), variances[d].item()
        )
        for d in range(6)
    ]
    after = torch.stack(columns, dim=1)
    torch.testing.assert_close(logits, classifier(after))
    if not training:
        torch.testing.assert_close(head.embed(pooled), after)


def test_bnneck_starts_as_its_authors_code_does():
    head = Head(512, 500, neck="bnneck")
    norm: Any = head.add_block[0]
    classifier: Any = head.classifier[0]
    assert not norm.bias.requires_grad
    assert norm.bias.eq(0).all()
    assert norm.weight.eq(1).all()
    assert classifier.bias is None
    assert classifier.weight.std().item() == pytest.approx(1e-3, rel=0.02)


def test_the_linear_neck_starts_as_published_and_no_neck_as_pytorch_does():
    torch.manual_seed(0)
    layers: Any = [
        *Head(64, 500).add_block[:2],
        Head(64, 500).classifier[0],
        Head(512, 500, neck="none").classifier[0],
    ]
    assert [bool(layer.bias.any()) for layer in layers] == [False, False, False, True]
    assert layers[1].weight.mean().item() == pytest.approx(1, abs=0.01)
    scales = [(2 / 512) ** 0.5, 0.02, 1e-4, (3 * 512) ** -0.5]
    assert [layer.weight.std().item() for layer in layers] == pytest.approx(scales, rel=0.1)
    assert CosineClassifier(64, 500).weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(
    "head", [Head(6, 4, 3), Head(6, 4, 0), Head(6, 4, 3, droprate=0.0), Head(6, 4, neck="bnneck")]
)
def test_losses_may_see_the_feature_before_the_dropout_and_nothing_else_changes(head):
    pooled = torch.randn(8, 6)
    without_dropout = head.add_block if head.neck == "linear" else torch.nn.Identity()
    torch.manual_seed(0)
    dropped, logits = head(pooled)
    torch.manual_seed(0)
    whole, same_logits = head(pooled, LossFeature(dropped=False))
    assert torch.equal(same_logits, logits)
    if head.neck == "linear" and isinstance(head.add_block[-1], torch.nn.Dropout):
        without_dropout = head.add_block[:-1]
        assert (dropped == 0).any()
        assert not (whole == 0).any()
    torch.testing.assert_close(whole, without_dropout(pooled))


def test_no_neck_classifies_the_pooled_feature_itself():
    head, pooled = Head(6, 4, neck="none"), torch.randn(3, 6)
    classifier: Any = head.classifier[0]
    features, logits = head(pooled)
    assert features.equal(pooled)
    assert head.embed(pooled).equal(pooled)
    assert head.dim == 6
    torch.testing.assert_close(logits, classifier(pooled))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_cosine_classifier_is_the_cosine_in_float32(dtype):
    classifier, features = CosineClassifier(6, 4), torch.randn(3, 6)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        cosines = classifier(features)
    expected = [[torch.cosine_similarity(x, w, dim=0) for w in classifier.weight] for x in features]
    assert cosines.dtype == torch.float32
    torch.testing.assert_close(cosines, torch.stack([torch.stack(row) for row in expected]))


def network(backbone, pool, neck, head):
    torch.manual_seed(0)
    linear_num = 16 if neck == "linear" else 512
    return create_model(
        backbone,
        5,
        linear_num=linear_num,
        weights="none",
        size=SIZE,
        pool=pool,
        neck=neck,
        head=head,
    )


@pytest.mark.parametrize(("pool", "neck"), [*itertools.product(POOL_NAMES, NECK_NAMES)])
@pytest.mark.parametrize(
    "backbone", [pytest.param("osnet_x0_25", marks=pytest.mark.slow), "test_resnet"]
)
def test_every_pooling_neck_and_classifier_trains_and_reloads(backbone, pool, neck):
    images = torch.randn(3, 3, *SIZE)
    for head in ("linear", "cosine"):
        net = network(backbone, pool, neck, head)
        features, logits = net(images)
        assert features.shape == (3, net.metric_dim)
        assert logits.shape == (3, 5)
        (features.square().sum() + logits[:, 0].sum()).backward()
        learning = {name: p for name, p in net.named_parameters() if p.requires_grad}
        assert [
            name for name, p in learning.items() if p.grad is None or not p.grad.isfinite().all()
        ] == []
        again = network(backbone, pool, neck, head)
        again.load_state_dict(net.state_dict())
        with torch.inference_mode():
            found = again.eval().embed(images)
            assert found.shape == (3, net.dim)
            torch.testing.assert_close(found, net.eval().embed(images))


def test_the_classifiers_with_margins_are_cosine_classifiers():
    for head in set(HEAD_NAMES) - {"linear"}:
        assert isinstance(
            network("osnet_x0_25", None, "linear", head).classifier.classifier[0], CosineClassifier
        )


EVERY_ATTENTION = (
    "se:layer1;cbam:layer2;nonlocal:layer3;gc:layer3;fpb:layer3;plr:layer4;usam:layer1"
)


@pytest.mark.parametrize(
    "settings",
    [dict(pool="gemp", neck="bnneck", head="cosine", attention=EVERY_ATTENTION), dict(PCB=True)],
    ids=str,
)
def test_a_network_compiles_as_one_graph(settings):
    net = create_model("resnet18", 5, weights="none", size=SIZE, **settings).eval()
    images = torch.randn(2, 3, *SIZE)
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), net(images))


def test_words_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match=r"pool=gen: expected one of avg.*Did you mean 'gem'"):
        create_model("resnet18", 5, weights="none", pool="gen")
    with pytest.raises(UserError, match="neck=foo: expected one of linear, bnneck, none"):
        create_model("resnet18", 5, weights="none", neck="foo")
