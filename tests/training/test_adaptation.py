"""What adapt.py clusters, learns from and reports, on a few people.

tests/scripts/test_adapt.py has whole runs.
"""

import numpy as np
import pytest
import torch

from benchmarks.support.people import write_people
from person_reid.config.adapt import AdaptConfig
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.models.heads import heads_of
from person_reid.models.modes_and_hooks import evaluation_mode
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.normalization import CameraNorm
from person_reid.training import adaptation
from person_reid.training.adaptation import ClusterCriterion, freeze_classifiers, report_clusters
from tests.support.beginnings import adapting
from tests.support.flags import SMALLEST

FLAGS = [*SMALLEST, "--gpu_ids", "-1"]
FLAGS += [
    "--batchsize",
    "8",
    "--instances",
    "2",
    "--k1",
    "4",
    "--k2",
    "2",
    "--min_samples",
    "2",
    "--radius",
    "0.7",
]


@pytest.fixture
def begun(here):
    """A function that sets up a training on sixteen images of four people.

    It returns the Adaptation.
    """
    write_people(here / "people", 4, 4)

    def begin(*flags):
        return adapting(["--data_dir", "people", *FLAGS, *flags]).adaptation

    return begin


def test_the_loss_sees_what_is_tested_and_the_classifier_learns_nothing():
    network = create_model("test_resnet", 3, weights="none", neck="bnneck", size=(32, 16)).eval()
    freeze_classifiers(network)
    seen = ClusterCriterion(AdaptConfig(), network).seen
    network.classifier.add_block[0].running_mean.fill_(1)
    images = torch.randn(2, 3, 32, 16)
    torch.testing.assert_close(network.outputs(images, seen)[0], network.embed(images))
    assert not any(
        weight.requires_grad
        for head in heads_of(network)
        for weight in head.classifier.parameters()
    )


def test_purity_is_of_clustered_images_and_unknown_cameras_exclude_nothing():
    people = np.array([0, 0, 1, 1, 1])
    clusters, unknown = np.array([0, 0, 0, 1, -1]), np.full(5, -1)
    features = np.eye(2, dtype=np.float32)[people]
    found = report_clusters(features, people, unknown, clusters)
    assert found == {"purity": 3 / 4, "own_mAP": 1.0}


def test_known_identities_are_classes_after_the_clusters(begun, tmp_path):
    write_people(tmp_path / "source" / "train_all", 2, 3, seed=5)
    found = begun("--keep_source", "source")
    clusters = np.array([0, 0, 1, 1, 2, 2, -1, -1] * 2)
    features = np.random.default_rng(0).normal(size=(22, 8)).astype(np.float32)
    found.use(clusters, features)
    assert found.step.images.targets.tolist() == [*clusters.tolist(), 3, 3, 3, 4, 4, 4]
    assert found.step.criterion.memory.centers.shape == (5, 8)


def clustered(found, labels, monkeypatch):
    """Refresh with these clusters.

    Returns the features that were clustered, and what is known of the clusters.
    """
    seen = []

    def cluster(features):
        seen.append(features)
        return np.array(labels)

    monkeypatch.setattr(found, "cluster", cluster)
    known = found.refresh()
    return seen[0], known


def test_cameras_get_one_mean_before_images_are_clustered(begun, monkeypatch):
    found, plain = begun("--name", "found"), begun("--name", "plain", "--no_camera_norm")
    features, _ = clustered(found, [0, 1] * 8, monkeypatch)
    expected = CameraNorm(found.features, found.cameras)(found.features, found.cameras)
    assert np.array_equal(features, expected) and not np.array_equal(features, found.features)
    features, _ = clustered(plain, [0, 1] * 8, monkeypatch)
    assert np.array_equal(features, plain.features)


def test_outliers_are_left_out_or_are_clusters_of_their_own(begun, monkeypatch):
    labels = [0] * 6 + [1] * 6 + [-1] * 4
    dropped, kept = begun("--name", "dropped"), begun("--name", "kept", "--outliers", "instances")
    for found in (dropped, kept):
        _, known = clustered(found, labels, monkeypatch)
        assert (known["clusters"], known["clustered"]) == (2, 12 / 16)
    assert dropped.step.images.targets.tolist() == labels
    assert kept.step.images.targets.tolist() == [*labels[:12], 2, 3, 4, 5]


def test_neighbours_are_compared_with_those_of_the_start(begun, monkeypatch):
    found, compared = begun(), []

    def overlap(first, now):
        compared.append((first, now))
        return 0.5

    monkeypatch.setattr(adaptation, "nearest_others", lambda features: len(compared))
    monkeypatch.setattr(adaptation, "overlap", overlap)
    for _ in range(3):
        clustered(found, [0, 1] * 8, monkeypatch)
    assert compared == [(0, 0), (0, 1), (0, 2)] and found.kept == 0.5


def test_without_a_head_that_learns_the_log_has_the_rate_of_the_backbone(begun, monkeypatch):
    found = begun("--neck", "none", "--steps", "1", "--lr", "1e-3")
    clustered(found, [0, 1] * 8, monkeypatch)
    assert [group["name"] for group in found.step.optimizer.param_groups] == ["backbone"]
    for batch in found.step.images.epoch(0):
        found.step(batch)
    assert found.step.rate == found.step.optimizer.defaults["lr"] == 1e-3


def test_images_are_clustered_by_one_view_of_each(begun):
    found = begun()
    with evaluation_mode(found.network):
        embed = fused_embedding(found.network, found.step.device)
        expected = extract_features(embed, found.step.images.bank, found.step.device, 8, flip=False)
    np.testing.assert_allclose(found.extract(), expected, atol=1e-5)


def test_the_teacher_averages_the_statistics_of_norms_too(begun, monkeypatch):
    found = begun("--steps", "2", "--decay", "0.75")
    clustered(found, [0, 1] * 8, monkeypatch)
    seen = []
    for batch in found.step.images.epoch(0):
        found.step(batch)
        seen.append({name: value.clone() for name, value in found.step.network.named_buffers()})
    means = {
        name: value
        for name, value in found.network.named_buffers()
        if name.endswith("running_mean")
    }
    assert means and not torch.equal(*(each[next(iter(means))] for each in seen))
    for name, mean in means.items():
        torch.testing.assert_close(mean, 0.75 * seen[0][name] + 0.25 * seen[1][name])


def test_features_that_are_no_numbers_are_not_clustered(begun):
    found = begun()
    next(found.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="nothing can be clustered. Try a lower --lr"):
        found.refresh()


@pytest.mark.parametrize(("flags", "largest"), [([], 0.5), (["--reliable"], 0.52)])
def test_the_graph_has_every_radius_that_is_compared(flags, largest, begun, monkeypatch):
    radii = []

    def graph(features, radius, k1, k2, original=adaptation.jaccard_graph):
        radii.append(radius)
        return original(features, radius, k1, k2)

    monkeypatch.setattr(adaptation, "jaccard_graph", graph)
    found = begun("--radius", "0.5", *flags)
    found.cluster(np.eye(2, dtype=np.float32)[np.arange(16) % 2])
    assert radii == pytest.approx([largest])


def test_cameras_that_nobody_knows_are_no_single_one(begun, caplog):
    begun("--name", "unknown", "--cameras", "none")
    assert "All images are of one camera" not in caplog.text
