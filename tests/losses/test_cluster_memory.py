"""The cluster memory against loops over images and clusters, written from the paper."""

import numpy as np
import pytest
import torch

from person_reid.losses import cluster_memory
from person_reid.losses.cluster_memory import ClusterMemory, ProxyMemory

CLUSTERS, DIM = 5, 6


def unit(values):
    return values / values.norm(dim=-1, keepdim=True)


def memory(**settings):
    torch.manual_seed(0)
    found = ClusterMemory(**settings)
    found.centers = unit(torch.randn(CLUSTERS, DIM))
    return found


def batch(count=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, DIM, generator=generator, requires_grad=True)
    # The last cluster has no image.
    return features, torch.randint(0, CLUSTERS - 1, (count,), generator=generator)


def slow_loss(features, labels, centers, temperature):
    total = 0.0
    for feature, label in zip(unit(features.double()), labels, strict=True):
        scores = torch.stack([feature @ center.double() for center in centers]) / temperature
        total = total - (scores[label] - scores.exp().sum().log())
    return total / len(labels)


def slow_update(features, labels, centers, momentum):
    centers = centers.clone()
    for cluster in range(len(centers)):
        members = [
            unit(feature)
            for feature, label in zip(features, labels, strict=True)
            if label == cluster
        ]
        if members:
            hardest = min(members, key=lambda feature: float(feature @ centers[cluster]))
            centers[cluster] = unit(momentum * centers[cluster] + (1 - momentum) * hardest)
    return centers


def test_momentum_and_temperature_are_those_of_the_authors_code():
    assert (ClusterMemory().momentum, ClusterMemory().temperature) == (0.1, 0.05)


def test_loss_and_gradient_equal_a_loop():
    features, labels = batch()
    loss = memory(temperature=0.05)
    before = loss.centers
    found = loss(features, labels)
    (gradient,) = torch.autograd.grad(found, features)
    expected = slow_loss(features, labels, before, 0.05)
    (slow_gradient,) = torch.autograd.grad(expected, features)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, slow_gradient, rtol=1e-4, atol=1e-4)


def test_the_hardest_image_of_each_cluster_moves_its_center():
    features, labels = batch()
    loss = memory(momentum=0.3)
    expected = slow_update(features.detach(), labels, loss.centers, 0.3)
    before = loss.centers.clone()
    loss(features, labels)
    torch.testing.assert_close(loss.centers, expected)
    assert torch.equal(loss.centers[-1], before[-1])
    assert not torch.equal(loss.centers, before)


def test_the_last_image_of_a_batch_moves_the_center_of_its_cluster():
    features, _ = batch(count=3)
    labels = torch.tensor([0, 0, 1])
    loss = memory(momentum=0.3)
    expected = slow_update(features.detach(), labels, loss.centers, 0.3)
    loss(features, labels)
    torch.testing.assert_close(loss.centers, expected)


def test_of_equally_hard_images_the_first_is_taken():
    loss = memory(momentum=0.0)
    loss.centers = torch.eye(CLUSTERS, DIM)
    first, second = torch.eye(DIM)[1], torch.eye(DIM)[2]  # both orthogonal to the center
    loss(torch.stack([first, second]), torch.tensor([0, 0]))
    assert torch.equal(loss.centers[0], first)


def test_evaluation_leaves_the_memory_alone():
    features, labels = batch()
    loss = memory().eval()
    before = loss.centers.clone()
    loss(features, labels)
    assert torch.equal(loss.centers, before)


def test_a_state_dict_holds_a_memory_of_any_size():
    loss, other = memory(), ClusterMemory()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.centers, loss.centers)


def test_half_precision_computes_in_float32():
    features, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = memory()(features.detach().bfloat16(), labels)
    exact = memory()(features.detach().bfloat16().float(), labels)
    assert found.dtype == torch.float32
    assert np.isclose(float(found), float(exact))


def slow_proxy_loss(features, labels, loss, hardest):
    """The paper's equations, image by image.

    The proxies of one camera compete, then those of one cluster.
    """
    total = 0.0
    for feature, label in zip(unit(features.double()), labels.tolist(), strict=True):
        scores = [feature @ center.double() / loss.temperature for center in loss.centers]
        camera, cluster = loss.cameras[label], loss.clusters[label]
        proxies = range(len(scores))
        here = sum(scores[k].exp() for k in proxies if loss.cameras[k] == camera)
        total = total - (scores[label] - here.log())
        positive = [k for k in proxies if loss.clusters[k] == cluster and loss.cameras[k] != camera]
        negative = sorted(
            (scores[k] for k in proxies if loss.clusters[k] != cluster), reverse=True
        )[:hardest]
        everything = sum(scores[k].exp() for k in positive) + sum(score.exp() for score in negative)
        for k in positive:
            total = total - 0.5 / len(positive) * (scores[k] - everything.log())
    return total / len(labels)


@pytest.mark.parametrize("hardest", [2, 50])
def test_the_proxies_of_a_cluster_are_drawn_together(hardest, monkeypatch):
    monkeypatch.setattr(cluster_memory, "HARDEST", hardest)
    loss = ProxyMemory(temperature=0.2)
    torch.manual_seed(3)
    loss.centers = unit(torch.randn(8, DIM))
    loss.clusters = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
    loss.cameras = torch.tensor([0, 1, 2, 0, 2, 1, 0, 1])  # cluster 2 is seen by one camera
    features = torch.randn(16, DIM, requires_grad=True)
    labels = torch.arange(16) % 8
    expected = slow_proxy_loss(features, labels, loss, hardest)
    found = loss(features, labels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    (gradient,), (slow_gradient,) = (
        torch.autograd.grad(value, features) for value in (found, expected)
    )
    torch.testing.assert_close(gradient, slow_gradient, rtol=1e-4, atol=1e-4)


def test_the_fifty_hardest_parts_of_other_clusters_are_compared():
    """As in the paper; here sixty-two are more than that."""
    loss, parts = ProxyMemory(temperature=0.2), torch.arange(64)
    torch.manual_seed(3)
    loss.centers = unit(torch.randn(64, DIM))
    loss.clusters = parts // 2
    loss.cameras = parts % 2
    features, labels = torch.randn(4, DIM), torch.arange(4)
    expected = slow_proxy_loss(features, labels, loss, hardest=50)
    torch.testing.assert_close(
        loss.eval()(features, labels).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_proxies_of_one_camera_are_clusters():
    plain, proxies = memory(), ProxyMemory()
    proxies.centers = plain.centers
    proxies.clusters = torch.arange(CLUSTERS)
    proxies.cameras = torch.zeros(CLUSTERS)
    features, labels = batch()
    torch.testing.assert_close(proxies(features, labels), plain(features, labels))
    torch.testing.assert_close(proxies.centers, plain.centers)
