"""Batches: every image seen, the same on every machine, divided among the ranks."""

from itertools import chain, combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from person_reid.data.samplers import ClusterSampler, PKSampler, ShuffleSampler, expected_pairs
from person_reid.errors import UserError


def epoch_of(sampler, epoch=0):
    return [batch.tolist() for batch in sampler.batches(epoch)]


def flat(batches):
    return list(chain.from_iterable(batches))


def uneven_labels(seed=0, identities=40, largest=25):
    counts = np.random.default_rng(seed).integers(1, largest, identities)
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(identities) * 3, counts))


def test_shuffle_shows_no_image_twice_and_drops_the_incomplete_batch():
    sampler = ShuffleSampler(103, 10, seed=1)
    batches = epoch_of(sampler)
    assert len(batches) == len(sampler) == 10
    assert {len(batch) for batch in batches} == {10}
    assert len(set(flat(batches))) == 100


MAKERS = {
    "shuffle": lambda seed: ShuffleSampler(60, 8, seed),
    "pk": lambda seed: PKSampler([*range(9)] * 9, 8, 4, seed),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_deterministic_by_seed_and_epoch(make):
    assert epoch_of(make(3), 5) == epoch_of(make(3), 5)
    assert epoch_of(make(3), 5) != epoch_of(make(3), 6)
    assert epoch_of(make(3), 5) != epoch_of(make(4), 5)
    assert next(make(3).batches(0)).dtype == torch.int64


def test_two_ranks_with_half_the_batch_see_what_one_device_sees():
    one = epoch_of(ShuffleSampler(101, 8))
    ranks = [epoch_of(ShuffleSampler(101, 4, rank=rank, world_size=2)) for rank in range(2)]
    assert [left + right for left, right in zip(*ranks, strict=True)] == one


def test_identity_batches_of_two_ranks_are_those_of_one_device():
    labels = uneven_labels()
    one = epoch_of(PKSampler(labels, 16, 4))
    ranks = [epoch_of(PKSampler(labels, 8, 4, rank=rank, world_size=2)) for rank in range(2)]
    assert [left + right for left, right in zip(*ranks, strict=True)] == one


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 10), st.booleans())
def test_every_image_is_seen_and_every_batch_is_p_times_k(
    seed, instances, identities, with_cameras
):
    labels = uneven_labels(seed)
    cameras = labels % 5 if with_cameras else None
    sampler = PKSampler(labels, identities * instances, instances, seed, cameras)
    batches = epoch_of(sampler)
    assert len(batches) == len(sampler)
    assert set(flat(batches)) == set(range(len(labels)))
    for batch in batches:
        of_batch = labels[batch].reshape(identities, instances)
        assert (of_batch == of_batch[:, :1]).all()
        assert len(set(of_batch[:, 0])) == identities


def test_no_image_repeats_within_a_batch_where_the_identity_has_enough():
    labels = np.repeat(np.arange(12), 7)
    for batch in PKSampler(labels, 16, 4).batches(0):
        assert len(set(batch.tolist())) == 16


def test_identities_meet_different_company():
    labels = np.repeat(np.arange(50), 16)
    partners = {tuple(sorted(set(labels[batch]))) for batch in PKSampler(labels, 20, 4).batches(0)}
    assert len(partners) > 30  # of 40 steps


def test_cameras_are_spread():
    labels, cameras = np.repeat(np.arange(10), 16), np.tile(np.repeat(np.arange(4), 4), 10)
    for batch in PKSampler(labels, 8, 4, cameras=cameras).batches(0):
        assert np.array_equal(np.sort(cameras[batch].reshape(2, 4), axis=1), [[0, 1, 2, 3]] * 2)


def test_one_dominant_identity_still_comes_once_a_batch():
    labels = np.array([0] * 100 + [1, 2, 3])
    batches = epoch_of(PKSampler(labels, 8, 4))
    assert len(batches) == 25
    assert set(flat(batches)) == set(range(103))


@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 1, 2], [7] * 5, [*range(5)], [3, 3, 3, 3, 9, 9, 9, 9]]
)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_expected_pairs_is_the_mean_over_all_batches(labels, batch_size):
    batches = list(combinations(labels, batch_size))
    pairs = sum(first == second for batch in batches for first, second in combinations(batch, 2))
    assert expected_pairs(labels, batch_size) == pytest.approx(pairs / len(batches))


def test_expected_pairs_is_what_the_shuffle_gives():
    labels = uneven_labels()
    pairs = [
        (np.unique(labels[batch], return_counts=True)[1] ** 2).sum() - len(batch)
        for epoch in range(40)
        for batch in ShuffleSampler(len(labels), 32).batches(epoch)
    ]
    assert expected_pairs(labels, 32) == pytest.approx(np.mean(pairs) / 2, rel=0.03)


def test_expected_pairs_of_a_single_image_is_zero():
    assert expected_pairs([4], 1) == 0


def test_impossible_batches_are_refused():
    with pytest.raises(UserError, match="do not fill one batch of 32"):
        ShuffleSampler(31, 32)
    with pytest.raises(UserError, match="multiple"):
        PKSampler([0, 0, 1, 1], 6, 4)
    with pytest.raises(UserError, match="2 identities"):
        PKSampler([0, 0, 1, 1], 12, 4)


@given(
    st.integers(0, 2**16),
    st.integers(2, 30),
    st.integers(1, 12),
    st.integers(2, 4),
    st.integers(1, 3),
)
def test_batches_show_different_clusters_on_all_ranks(seed, clusters, steps, instances, ranks):
    """Each step shows different clusters on all ranks, K images of each, and no outlier.

    There are as many steps as asked for.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(
        np.concatenate([np.repeat(np.arange(clusters), random.integers(1, 9, clusters)), [-1] * 5])
    )
    share = 4 * instances
    samplers = [
        ClusterSampler(len(labels), share, instances, steps, seed, None, rank, ranks)
        for rank in range(ranks)
    ]
    if clusters < 2 * ranks:
        with pytest.raises(UserError, match="cluster"):
            samplers[0].assign(labels)
        return
    for sampler in samplers:
        sampler.assign(labels)
    rows = [epoch_of(sampler, epoch=3) for sampler in samplers]
    assert {len(batches) for batches in rows} == {steps}
    expected = min(share // instances, clusters // ranks)
    for step in zip(*rows, strict=True):
        shown = labels[np.array(step)].reshape(-1, instances)
        assert (shown >= 0).all()
        assert (shown == shown[:, :1]).all()
        assert len(set(shown[:, 0])) == len(shown) == expected * ranks


def test_a_batch_too_small_for_one_cluster_of_every_part_is_refused():
    ClusterSampler(8, 8, 4, 1, parts=np.arange(8) % 2)
    with pytest.raises(
        UserError, match="batchsize=4: expected at least 8: .* each of 2 sets of images"
    ):
        ClusterSampler(8, 4, 4, 1, parts=np.arange(8) % 2)


def test_clusters_change_between_epochs_and_cameras_are_mixed():
    sampler = ClusterSampler(24, 8, 4, 5, cameras=np.arange(24) % 4)
    first, second = np.arange(24) // 12, np.where(np.arange(24) < 16, np.arange(24) // 8, -1)
    sampler.assign(first)
    assert max(flat(epoch_of(sampler))) > 15
    before = epoch_of(sampler, 1)
    sampler.assign(second)
    assert max(flat(epoch_of(sampler))) < 16
    sampler.assign(first)
    assert epoch_of(sampler, 1) == before != epoch_of(sampler, 2)
    assert not any(batch in before for batch in epoch_of(sampler, 2))
    for batch in before:
        assert all(len(set(np.array(four) % 4)) == 4 for four in (batch[:4], batch[4:]))


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_part_has_an_equal_share_of_each_batch(ranks):
    """However many clusters each has."""
    labels = np.concatenate([np.repeat(np.arange(4), 5), [-1] * 3, np.repeat(np.arange(4, 40), 3)])
    parts = np.repeat([0, 1], [23, 108])
    for rank in range(ranks):
        sampler = ClusterSampler(len(labels), 8, 2, 6, 0, None, rank, ranks, parts)
        sampler.assign(labels)
        for batch in epoch_of(sampler):
            assert parts[batch].tolist() == [0] * 4 + [1] * 4
            assert len(set(labels[batch])) == 4
    with pytest.raises(UserError, match="1 cluster"):
        sampler.assign(np.where(parts == 1, labels, np.minimum(labels, 0)))
