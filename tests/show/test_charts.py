"""CMC curves, histograms and maps hold the numbers that they were given."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from person_reid.config.look import Look
from person_reid.errors import UserError
from person_reid.retrieval.metrics import Metrics, evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.thresholds import BINS, PairSimilarities, pair_similarities
from person_reid.show.charts import draw_accuracy_by_time, draw_cmc, draw_similarities, run_names
from person_reid.show.embedding import choose, draw_embedding, label_place, project
from person_reid.show.image_sheets import draw_clusters
from person_reid.show.sheet import SheetRow
from person_reid.show.style import MANY, towards
from tests.support import ROOT
from tests.support.ranked_people import random_sets


def test_cmc_curves_are_the_metrics_best_first(tmp_path, drawn):
    runs = {f"run {seed}": evaluate(*random_sets(seed)) for seed in (2, 3, 4)}
    draw_cmc(runs, tmp_path / "cmc.svg", ranks=20)
    axes = drawn[0].axes[0]
    order = sorted(runs, key=lambda name: -runs[name].rank(1))
    assert len({runs[name].rank(1) for name in order}) > 1
    for line, name in zip(axes.lines, order, strict=True):
        assert line.get_label().startswith(f"{name}: Rank@1 {100 * runs[name].rank(1):.1f}, mAP")
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
        np.testing.assert_array_equal(line.get_ydata(), [runs[name].rank(k) for k in range(1, 21)])


def few_metrics(first_match, gallery_size=60):
    ones = np.ones(len(first_match))
    counts = ones.astype(int)
    return Metrics(ones, ones, np.array(first_match), counts, counts, gallery_size)


@pytest.mark.filterwarnings("error")
def test_long_names_of_runs_are_shortened_but_stay_different(tmp_path, drawn):
    alike = [f"{'x' * 90}_{i}" for i in range(9)], [f"{'x' * 30}{i}{'y' * 60}" for i in range(2)]
    for names in (*alike, ["W" * 90 + "1", "W" * 90 + "2"]):
        draw_cmc({name: few_metrics([0, 1, 5]) for name in names}, tmp_path / "cmc.png")
        (legend,) = drawn[-1].legends
        words = [text.get_text().partition(":")[0] for text in legend.get_texts()]
        assert len(set(words)) == len(names)
        assert all("…" in word for word in words)
        inside, outside = legend.get_window_extent(), drawn[-1].bbox
        assert outside.x0 <= inside.x0
        assert inside.x1 <= outside.x1


@pytest.mark.parametrize(
    ("ranks", "ticks"),
    [(3, [1, 2, 3]), (50, [1, *range(5, 51, 5)]), (2000, [1, *range(200, 2001, 200)])],
)
def test_a_perfect_cmc_is_in_sight_and_any_number_of_ranks_has_ticks(ranks, ticks, tmp_path, drawn):
    draw_cmc({"run": few_metrics([0, 0], 3000)}, tmp_path / "cmc.png", ranks)
    axes = drawn[0].axes[0]
    assert axes.get_ylim() == pytest.approx((0.9, 1.005))
    assert axes.get_xticks().tolist() == ticks
    assert {"90%", "100%"} <= {text.get_text() for text in axes.get_yticklabels()}


def test_a_cmc_of_one_rank_is_a_point(tmp_path, drawn):
    draw_cmc(
        {"one image": few_metrics([0, 0], 1), "three": few_metrics([0, 1, 2], 3)},
        tmp_path / "cmc.png",
    )
    assert [line.get_marker() for line in drawn[0].axes[0].lines] == ["o", ""]


def test_runs_are_named_by_their_files():
    assert list(run_names([Path("a/x.mat"), Path("b/y.mat")])) == ["x", "y"]
    assert list(run_names([Path("a/x.mat"), Path("b/x.mat")])) == ["a/x", "b/x"]
    assert list(run_names([Path("/far/away/a/x.mat"), Path("/far/away/b/x.mat")])) == ["a/x", "b/x"]
    assert list(run_names([Path("/far/x.mat"), Path("/far/b/x.mat")])) == ["x", "b/x"]
    assert list(run_names([Path("a/x"), Path("a/x.mat")])) == ["a/x", "a/x.mat"]
    names = {"x0.25": Path("x0.25"), "x0.5": Path("x0.5"), "net": Path("net.mat")}
    assert run_names(list(names.values())) == names
    with pytest.raises(UserError, match="same file twice"):
        run_names([Path("x.mat"), Path("x.mat")])


def test_histograms_hold_every_pair_and_the_threshold(tmp_path, drawn):
    query, gallery = random_sets()
    pairs = pair_similarities(query, gallery)
    draw_similarities(pairs, 0.25, tmp_path / "histogram.pdf", look=Look(dark=True))
    every, hardest, roc = drawn[0].axes
    for axes in (every, hardest):
        assert all(patch.get_data().values.sum() == pytest.approx(1) for patch in axes.patches)
        assert axes.lines[0].get_xdata() == [0.25, 0.25]
    own = every.patches[0].get_data()
    unit = [
        images.features / np.linalg.norm(images.features, axis=1)[:, None]
        for images in (query, gallery)
    ]
    same = (query.labels[:, None] == gallery.labels) & (query.cameras[:, None] != gallery.cameras)
    same &= query.labels[:, None] != -1
    # Coarse features lie on edges.
    counts, _ = np.histogram((unit[0] @ unit[1].T)[same] + 1e-4, own.edges + 1e-6)
    assert np.abs(own.values.cumsum() - counts.cumsum() / counts.sum()).max() < 0.2
    assert [line.get_label() for line in roc.lines] == ["all pairs", "hardest pairs"]
    assert (roc.get_xlabel(), roc.get_ylabel()) == ("False match rate", "True match rate")
    assert roc.lines[0].get_ydata()[0] == 1
    same, strangers = drawn[0].legends[0].get_patches()
    assert (same.get_hatch(), strangers.get_hatch()) == ("", "///")
    drawn_in = {to_hex(line.get_color()) for line in roc.lines}
    assert len(drawn_in | {to_hex(key.get_edgecolor()) for key in (same, strangers)}) == 4
    ticks = [text.get_text() for text in roc.get_xticklabels()]
    assert ticks == ["0.01%", "0.1%", "1%", "10%", "100%"]
    assert "90%" in [text.get_text() for text in roc.get_yticklabels()]
    assert all(axes.get_axisbelow() is True for axes in drawn[0].axes)  # the grid


def test_bars_are_as_wide_as_the_smaller_number_of_pairs_needs(tmp_path, drawn):
    few, many = np.zeros((2, BINS), int)
    few[[0, -1]], many[[0, -1]] = 8**3 // 2, 64**3 // 2
    draw_similarities(PairSimilarities(few, many, few, many), 0.1, tmp_path / "histogram.png")
    for axes in drawn[0].axes[:2]:
        assert {len(patch.get_data().values) for patch in axes.patches} == {2 * 8}


def test_a_single_bar_and_the_threshold_are_inside(tmp_path, drawn):
    one, other = np.zeros((2, BINS), int)
    one[12_000] = other[15_000] = 1
    draw_similarities(PairSimilarities(other, one, other, one), 0.1, tmp_path / "histogram.png")
    for axes in drawn[0].axes[:2]:
        assert axes.get_xlim()[0] < 0.08
        assert axes.get_xlim()[1] > 1


def test_milliseconds_between_powers_of_ten_are_plain_numbers(tmp_path, drawn):
    rows = [
        {"network": str(time), "milliseconds": time, "accuracy": {"Market": {"mAP": 0.8}}}
        for time in (3.0, 30.0)
    ]
    draw_accuracy_by_time(rows, tmp_path / "costs.png")
    labels = drawn[0].axes[0].get_xticklabels(which="both")
    assert {"5", "10", "20"} <= {label.get_text() for label in labels}
    width, height = drawn[0].get_size_inches()
    assert height == pytest.approx(width, rel=0.1)  # a single panel is about as high as wide


def test_a_map_is_of_those_with_the_most_images():
    labels = np.array([-1] * 9 + [0] * 8 + [5] * 3 + [7] * 6 + [9] * 4)
    rng = np.random.default_rng(0)
    gallery = FeatureSet(rng.normal(size=(len(labels), 4)), labels, np.arange(len(labels)) % 3)
    query = FeatureSet(rng.normal(size=(2, 4)), np.array([5, 5]), np.array([1, 2]))
    images = choose(query, gallery, identities=2)
    assert sorted(images.labels.tolist()) == [5] * 5 + [7] * 6
    np.testing.assert_array_equal(images.features[:2], query.features)


def test_of_people_with_as_many_images_a_map_is_of_the_first():
    people = np.arange(1, 301)  # enough for an order that is not stable
    labels = np.repeat(people, 1 + people % 3)
    gallery = FeatureSet(np.ones((len(labels), 4)), labels, labels)
    query = FeatureSet(np.ones((1, 4)), np.array([-1]), np.array([1]))
    assert {*choose(query, gallery, identities=5).labels.tolist()} == {2, 5, 8, 11, 14}


def test_pca_keeps_the_distances_of_features_in_a_plane():
    angles = np.linspace(0, 3, 9)
    features = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1) * 4
    points, name = project(features, "pca")
    distances = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (points, features / 4)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-6)
    assert name == "PCA"


def test_tsne_keeps_people_together():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    features = (5 * rng.normal(size=(3, 16)))[labels] + rng.normal(size=(36, 16))
    points, name = project(features)
    centres = np.stack([points[labels == label].mean(axis=0) for label in range(3)])
    assert (np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1) == labels).all()
    assert name == "t-SNE"
    np.testing.assert_array_equal(points, project(features, "tsne")[0])


def test_without_the_library_the_map_is_by_pca_and_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    features = np.random.default_rng(0).normal(size=(5, 3))
    points, name = project(features)
    assert name == "PCA"
    assert points.shape == (5, 2)
    assert "needs scikit-learn" in capsys.readouterr().out
    with pytest.raises(UserError, match="pip install scikit-learn"):
        project(features, "tsne")
    with pytest.raises(UserError, match="at least three"):
        project(features[:2])


def test_the_number_of_a_person_in_two_pieces_stands_above_one_of_them():
    piece = np.array([(0, 0), (1, 0), (0, 1), (1, 1)], float)
    place = label_place(np.concatenate([piece, piece[:3] + np.array([0, 50])]))
    assert place == (0.5, 1)


def test_a_map_has_a_colour_for_a_person_and_a_shape_for_a_camera(tmp_path, drawn):
    rng = np.random.default_rng(0)
    labels, cameras = rng.integers(1, 4, 40), rng.integers(1, 3, 40)
    points = rng.normal(size=(40, 2))
    draw_embedding(points, labels, cameras, tmp_path / "map.png", "PCA")
    axes = drawn[0].axes[0]
    seen: dict[tuple, set] = {}
    count = 0
    for cloud in axes.collections:
        assert isinstance(cloud, PathCollection)
        look = (str(cloud.get_facecolor()), np.asarray(cloud.get_paths()[0].vertices).size)
        for point in np.asarray(cloud.get_offsets()):
            index = int(np.flatnonzero((points == point).all(axis=1))[0])
            seen.setdefault((labels[index], cameras[index]), set()).add(look)
            count += 1
    assert count == 40
    assert all(len(looks) == 1 for looks in seen.values())
    assert len(seen) == 6
    colours = {
        label: {next(iter(looks))[0] for (who, _), looks in seen.items() if who == label}
        for label in (1, 2, 3)
    }
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 3
    shapes = [
        {next(iter(looks))[1] for (_, camera), looks in seen.items() if camera == asked}
        for asked in (1, 2)
    ]
    assert [len(found) for found in (*shapes, set.union(*shapes))] == [1, 1, 2]
    assert [text.get_text() for text in axes.texts] == ["0001", "0002", "0003"]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["camera 1", "camera 2"]


@pytest.mark.parametrize("people", [10, 40, 41])
def test_a_map_of_many_people_says_that_colours_repeat_and_leaves_out_their_numbers(
    people, tmp_path, drawn
):
    labels = np.repeat(np.arange(people), 3)
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    draw_embedding(points, labels, labels % 2, tmp_path / "map.png", "PCA")
    axes, title = drawn[0].axes[0], drawn[0].get_suptitle()
    assert title == f"{3 * people} images of {people} people"
    explorer = (ROOT / "person_reid/show/templates/explorer/map.js").read_text(encoding="utf-8")
    assert len(MANY) == 10
    assert "Colours repeat after ten identities" in explorer
    assert ("colours repeat after 10 people" in axes.get_xlabel()) == (people > 10)
    assert len(axes.texts) == (people if people <= 40 else 0)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(box.y1 < drawn[0]._suptitle.get_window_extent().y0 for box in boxes)


def test_a_map_of_one_person_counts_it_as_one(tmp_path, drawn):
    draw_embedding(np.eye(3, 2), np.ones(3, int), np.ones(3, int), tmp_path / "map.png", "PCA")
    assert drawn[0].get_suptitle() == "3 images of 1 person"


def test_a_sheet_of_clusters_counts_one_image_and_one_camera_as_one(tmp_path, monkeypatch):
    rows: list[SheetRow] = []
    monkeypatch.setattr(
        "person_reid.show.image_sheets.draw_sheet", lambda drawn, save, look: rows.extend(drawn)
    )
    paths, features = [Path(f"{i}.png") for i in range(4)], np.eye(4, dtype=np.float32)
    draw_clusters(
        paths, features, ["a", "a", "a", "b"], np.array([0, 0, -1, 1]), tmp_path / "sheet.png"
    )
    assert [row.title for row in rows] == ["Largest: cluster 0", "Largest: cluster 1", "Outliers"]
    assert {row.subtitle.partition(", margin")[0] for row in rows} == {
        "2 images, 1 camera",
        "1 image, 1 camera",
    }


def test_a_sheet_of_clusters_shows_each_once_and_names_its_files(tmp_path, monkeypatch):
    rows: list[SheetRow] = []
    monkeypatch.setattr(
        "person_reid.show.image_sheets.draw_sheet", lambda drawn, save, look: rows.extend(drawn)
    )
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    paths = [Path(f"image_{i}.png") for i in range(12)]
    clusters = np.repeat(np.arange(6), 2)
    draw_clusters(paths, features, [""] * 12, clusters, tmp_path / "sheet.png")
    titles = [row.title.partition(": ")[2] for row in rows]
    assert sorted(titles) == [f"cluster {number}" for number in range(6)]
    assert [tile.below for tile in rows[0].tiles] == ["image_0", "image_1"]


def test_labels_cover_neither_dots_nor_each_other_and_bear_the_colour_of_theirs(tmp_path, drawn):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 5)
    points = rng.normal(size=(20, 2))[labels] + rng.normal(scale=0.02, size=(100, 2))
    draw_embedding(points, labels, labels % 2, tmp_path / "map.png", "PCA")
    (axes,) = drawn[0].axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    dots = axes.transData.transform(points)
    assert [text.get_text() for text in axes.texts] == [f"{number:04d}" for number in range(20)]
    for box, other in itertools.combinations(boxes, 2):
        assert not box.overlaps(other)
    for number, box in enumerate(boxes):
        assert not ((dots > box.p0) & (dots < box.p1)).all(axis=1).any()
        own = dots[labels == number].mean(axis=0)
        assert np.linalg.norm((box.p0 + box.p1) / 2 - own) < 80 / 72 * drawn[0].dpi
    for text, colour in zip(axes.texts, MANY * 2, strict=True):
        assert text.get_color() == towards(axes.xaxis.label.get_color(), colour)
    assert all(axes.get_window_extent().contains(*box.p0) for box in boxes)
