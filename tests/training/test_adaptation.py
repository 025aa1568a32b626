"""What adapt.py clusters, learns from and reports, on a few people.

tests/scripts/test_adapt.py has whole runs.
"""

import numpy as np
import pytest
import torch

from benchmarks.support.people import write_people
from person_reid.config.adapt import AdaptConfig
from person_reid.console import parse
from person_reid.data.video.crops import CropTracks
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.models.heads import heads_of
from person_reid.models.surgery import evaluation_mode
from person_reid.retrieval import clusters as clustering
from person_reid.retrieval.clusters import (
    clusters_of_epoch,
    report_clusters,
    separation,
)
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.similarity import unit_rows
from person_reid.training import adaptation
from person_reid.training.adaptation import ClusterCriterion, freeze_classifiers
from person_reid.training.training_run import Run
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
    """Refresh with these clusters. Return what is known of them."""
    monkeypatch.setattr(adaptation, "clusters_of_epoch", lambda *_: np.array(labels))
    return found.refresh()


def graphs_of(monkeypatch):
    """The features and radii of all graphs from now on."""
    asked = []

    def graph(features, radius, k1, k2, original=clustering.jaccard_graph):
        asked.append((features, radius))
        return original(features, radius, k1, k2)

    monkeypatch.setattr(clustering, "jaccard_graph", graph)
    return asked


def test_cameras_get_one_mean_before_images_are_clustered(monkeypatch):
    asked = graphs_of(monkeypatch)
    features = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    cameras = np.arange(16) % 2
    clusters_of_epoch(features, cameras, AdaptConfig(k1=4, k2=2))
    ((normed, _),) = asked
    assert np.array_equal(normed, CameraNorm(features, cameras)(features, cameras))
    assert not np.array_equal(normed, features)


def test_outliers_are_left_out(begun, monkeypatch):
    labels = [0] * 6 + [1] * 6 + [-1] * 4
    found = begun("--name", "dropped")
    known = clustered(found, labels, monkeypatch)
    assert (known["clusters"], known["clustered"]) == (2, 12 / 16)
    assert found.step.images.targets.tolist() == labels


def test_neighbours_are_compared_with_those_of_the_start(begun, monkeypatch):
    found, compared = begun(), []

    def overlap(first, now):
        compared.append((first, now))
        return 0.5

    monkeypatch.setattr(adaptation, "nearest_others", lambda features: len(compared))
    monkeypatch.setattr(adaptation, "overlap", overlap)
    for _ in range(3):
        clustered(found, [0, 1] * 8, monkeypatch)
    assert compared == [(0, 0), (0, 1), (0, 2)]
    assert found.kept == 0.5


def test_without_a_head_that_learns_the_log_has_the_rate_of_the_backbone(begun, monkeypatch):
    found = begun("--neck", "none", "--steps", "1", "--lr", "1e-3", "--warm_epoch", "0")
    clustered(found, [0, 1] * 8, monkeypatch)
    assert [group["name"] for group in found.step.optimizer.param_groups] == ["backbone"]
    for batch in found.step.images.epoch(0):
        found.step(batch)
    assert found.step.head_lr == found.step.optimizer.defaults["lr"] == 1e-3


def test_the_steps_of_an_epoch_grow_with_the_root_of_the_number_of_images(begun):
    assert len(begun().step.images) == 5  # 1.25 √16
    assert len(begun("--steps", "3").step.images) == 3


def test_images_are_clustered_by_one_view_of_each(begun):
    found = begun()
    with evaluation_mode(found.network):
        embed = fused_embedding(found.network, found.step.device)
        expected = extract_features(
            embed, found.step.images.bank, found.step.device, 8, False, found.step.dtype
        )
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
    assert means
    assert not torch.equal(*(each[next(iter(means))] for each in seen))
    for name, mean in means.items():
        torch.testing.assert_close(mean, 0.75 * seen[0][name] + 0.25 * seen[1][name])


def test_features_that_are_no_numbers_are_not_clustered(begun):
    found = begun()
    next(found.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="nothing can be clustered. Try a lower lr"):
        found.refresh()


def test_the_graph_has_the_radius_that_is_asked_for(monkeypatch):
    asked = graphs_of(monkeypatch)
    options = parse(AdaptConfig, ["--radius", "0.52", "--k1", "4", "--k2", "2"])
    features = np.eye(2, dtype=np.float32)[np.arange(16) % 2]
    clusters_of_epoch(features, np.zeros(16, int), options)
    assert [radius for _, radius in asked] == [0.52]


def test_cameras_that_nobody_knows_are_no_single_one(begun, caplog):
    begun("--name", "unknown", "--cameras", "none")
    assert "All images are of one camera" not in caplog.text


def test_proxies_need_images_of_two_cameras_and_no_more(begun):
    assert set(begun("--proxies").split.cameras.tolist()) == {0, 1}
    with pytest.raises(UserError, match="proxies.* would be ignored"):
        begun("--proxies", "--cameras", "none", "--name", "unknown")


def test_the_separation_is_that_of_halves_from_strangers():
    """d′ by its definition; ten tracks of two images, five by five at one moment."""
    random = np.random.default_rng(0)
    features = unit_rows(random.normal(size=(20, 8)).astype(np.float32))
    apart = np.kron(np.eye(2, dtype=bool), ~np.eye(5, dtype=bool))
    tracks = CropTracks(np.arange(20) % 10, np.arange(20), apart)
    means = unit_rows(features[:10] + features[10:])
    halves = (features[:10] * features[10:]).sum(1)
    strangers = [means[i] @ means[j] for i in range(10) for j in range(i) if apart[i, j]]
    deviation = np.sqrt((np.var(halves) + np.var(strangers)) / 2)
    expected = (np.mean(halves) - np.mean(strangers)) / deviation
    assert separation(features, tracks) == pytest.approx(expected, rel=1e-4)
    assert separation(features, tracks._replace(apart=np.zeros_like(apart))) is None


def test_a_network_that_separates_strangers_less_is_worse_than_its_start(begun, monkeypatch):
    found = begun()
    found.tracks = CropTracks(np.arange(16) % 4, np.arange(16), np.zeros((4, 4), bool))
    values = iter([2.0, 1.9, 2.1])
    monkeypatch.setattr(adaptation, "separation", lambda *_: next(values))
    faults = []
    for _ in range(3):
        clustered(found, [0, 1, 1, 1] * 3 + [1, 0, 1, 1], monkeypatch)
        assert found.labels.tolist() == [0, 1, 1, 1] * 4  # the majority of each track
        faults.append(found.fault())
    assert [bool(fault) for fault in faults] == [False, True, False]
    assert "1.90, not 2.00" in faults[1]


def test_a_training_ends_when_the_clusters_no_longer_change(begun, monkeypatch):
    journal = adapting(["--data_dir", "people", *FLAGS, "--total_epoch", "9"])
    monkeypatch.setattr(Run, "finish", lambda run, figures: run.history.append(figures))
    for agreed, last in ((1.0, 9), (0.9, 9), (1.0, 9), (1.0, 1)):
        journal.finish({"agreement": agreed})
        assert journal.last == last
