"""MARS in miniature, from download to figures, against a loop of the authors' evaluation."""

import json

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import demo
import evaluate
import evaluate_gpu
import evaluate_rerank
import prepare
import test
import train
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.retrieval.results import load_result
from tests.data.conftest import write_image
from tests.support.tracklets import MARS_QUERIES, MARS_TEST, mars_frames, write_mars

NETWORK = ["--backbone", "test_resnet", "--height", "64", "--width", "32", "--gpu_ids", "-1"]
# (frames, identity, camera); more people and cameras than in MARS_TEST
WALKS = [(2, 0, 1), (3, -1, 2)] + [
    (1 + (who * camera) % 3, who, camera) for who in (2, 4, 6, 8) for camera in (1, 2, 3)
]


def tracks():
    """Rows of tracks_test_info.mat for WALKS, after those of MARS_TEST."""
    rows = list(MARS_TEST)
    for frames, identity, camera in WALKS:
        last = rows[-1][1]
        rows.append((last + 1, last + frames, identity, camera))
    return rows


QUERIES = [*MARS_QUERIES, *range(len(MARS_TEST) + 3, len(MARS_TEST) + len(WALKS) + 1, 2)]


def draw(path, seed):
    """A frame: noise of the person, with noise of its own."""
    who, own = np.random.default_rng(seed[0]), np.random.default_rng(seed)
    pixels = 0.6 * who.integers(0, 256, (16, 8, 3)) + 0.4 * own.integers(0, 256, (16, 8, 3))
    Image.fromarray(pixels.astype(np.uint8)).resize((32, 64)).save(path, format="PNG")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with MARS, laid out, and the features of its frames and of its tracklets."""
    folder = tmp_path_factory.mktemp("mars")
    write_mars(folder / "MARS", tracks=tracks(), queries=QUERIES)
    for number, name in enumerate(mars_frames(tracks())):
        draw(folder / "MARS" / "bbox_test" / name[:4] / name, (int(name[2:4].strip("-")), number))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare.main(["--data_dir", "MARS"])
        extract("frames.mat")
        extract("tracks.mat", "--tracks", "--json", "tracks.json")
    return folder


def extract(result, *flags):
    words = ["--weights", "none", "--test_dir", "MARS/pytorch", "--result", result]
    test.main([*NETWORK, *words, *flags])


@pytest.fixture
def here(room, monkeypatch):
    monkeypatch.chdir(room)
    return room


def of_frame(path):
    """The name of a frame in the download, which the name in the layout ends with."""
    return path.rpartition("_")[2]


def evaluation_mars(frames):
    """(CMC, mAP) as the authors' evaluation_mars.m and compute_AP.m have them, with mean pooling.

    frames: {name: feature of unit length} of the test.
    """
    names, rows = mars_frames(tracks()), tracks()
    pooled = np.array(
        [np.mean([frames[name] for name in names[first - 1 : last]], 0) for first, last, *_ in rows]
    )
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    labels, cameras = (np.array(column) for column in list(zip(*rows, strict=True))[2:])
    curves, precisions = [], []
    for query in np.array(QUERIES) - 1:
        order = np.argsort(-(pooled @ pooled[query]), kind="stable")
        same = labels == labels[query]
        junk = (labels == -1) | (same & (cameras == cameras[query]))
        good = same & (cameras != cameras[query])
        curve = np.zeros(len(rows))
        area = 0.0
        found = 0
        place = 0
        before = 1.0
        for index in order:
            if junk[index]:
                continue
            found += good[index]
            if good[index]:
                curve[place:] = 1
            precision = found / (place + 1)
            area += (good[index] / good.sum()) * (before + precision) / 2 if good.any() else 0
            before, place = precision, place + 1
            if found == good.sum():
                break
        curves.append(curve)
        precisions.append(area)
    return np.mean(curves, 0), np.mean(precisions)


def test_counts_and_figures_are_those_of_the_authors_evaluation(here):
    _, gallery = load_result("frames.mat", paths=True)
    names = [of_frame(path) for path in gallery.paths or []]
    features = dict(zip(names, gallery.features, strict=True))
    curve, precision = evaluation_mars(features)
    assert len(features) == tracks()[-1][1]
    merged_query, merged = load_result("tracks.mat", paths=True)
    assert (len(merged_query), len(merged)) == (len(QUERIES), len(tracks()))
    found = json.loads((here / "tracks.json").read_text())["single"]
    assert 0.2 < precision < 0.98  # neither blind nor trivial
    expected = {"rank1": curve[0], "rank5": curve[4], "rank10": curve[9], "mAP": precision}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_tracklet_of_one_frame_keeps_its_feature(here):
    frames, tracklets = load_result("frames.mat", paths=True), load_result("tracks.mat", paths=True)
    single = [path for path in tracklets[0].paths if "0004_c1t6_" in path]
    assert len(single) == 1
    index, own = tracklets[0].paths.index(single[0]), frames[0].paths.index(single[0])
    np.testing.assert_allclose(tracklets[0].features[index], frames[0].features[own], atol=1e-6)


def test_the_file_has_the_usual_keys_and_the_other_scripts_read_it(here, capsys):
    keys = [set(scipy.io.loadmat(name)) for name in ("frames.mat", "tracks.mat")]
    assert keys[0] == keys[1]
    assert "--tracks" in str(scipy.io.loadmat("tracks.mat")["flags"])
    capsys.readouterr()
    evaluate.main(["--result", "tracks.mat"])
    line = capsys.readouterr().out
    evaluate_gpu.main(["--result", "tracks.mat", "--gpu_ids", "-1"])
    assert capsys.readouterr().out == line
    assert line.startswith("Rank@1:")
    evaluate_rerank.main(["--result", "tracks.mat", "--k1", "4", "--k2", "2"])
    assert capsys.readouterr().out.startswith("re-ranked Rank@1:")
    demo.main(["--query_index", "0", "--result", "tracks.mat", "--top", "5", "--save", "show.png"])
    out = capsys.readouterr().out
    assert "MARS/pytorch/query/0002/0002_c1t" in out
    assert (here / "show.png").stat().st_size > 0


def test_frames_train_a_network_unchanged(here, capsys):
    words = ["--data_dir", "MARS/pytorch", "--name", "mars", "--total", "1", "--batchsize", "4"]
    train.main([*NETWORK, *words, "--weights", "none", "--train_all"])
    assert (here / "model" / "mars" / "net_last.pth").is_file()


def test_sequences_of_market_1501_are_tracklets_of_people_alone(here, capsys):
    images = {
        "query": ["0002_c1s1_000451_03.jpg"],
        "multi-query": ["0002_c1s1_000451_03.jpg", "0002_c1s1_000476_03.jpg"],
        "gallery": ["0002_c2s1_000001_01.jpg", "0002_c2s1_000026_01.jpg", "0002_c2s2_000051_01.jpg",
                    "0000_c2s1_000001_02.jpg", "0000_c2s1_000001_03.jpg"],
    }  # fmt: skip
    for split, names in images.items():
        for colour, name in enumerate(names):
            write_image(here / "market" / split / name[:4] / name, colour)
    words = ["--weights", "none", "--test_dir", "market", "--result", "market.mat"]
    test.main([*NETWORK, *words, "--tracks", "--multi"])
    out = capsys.readouterr().out
    assert "gallery: 5 images of 4 tracklets, " in out
    assert "\nmulti Rank@1:" in out
    assert "multi-query: 2 images of 1 tracklet, " in out
    _, gallery = load_result("market.mat", paths=True)
    assert sorted(gallery.labels.tolist()) == [0, 0, 2, 2]


def test_without_multiple_queries_single_ones_are_measured_and_kept(here, capsys):
    for split, name in (
        ("query", "0001_c1s1_000451_03.jpg"),
        ("gallery", "0001_c2s1_000451_03.jpg"),
    ):
        write_image(here / "own" / split / "0001" / name)
    words = [*NETWORK, "--weights", "none", "--test_dir", "own", "--result", "own.mat", "--multi"]
    with pytest.raises(
        UserError, match="multi-query: no such folder. Multiple queries are further"
    ):
        test.main(words)
    assert "Rank@1:1.0" in capsys.readouterr().out
    assert len(load_result("own.mat")[0]) == 1


def test_what_has_no_tracklets_is_refused_before_the_work(here, capsys):
    for split in ("query", "gallery"):
        write_image(here / "duke" / split / "0001" / "0001_c1_f0046182.jpg")
    words = [*NETWORK, "--weights", "none", "--test_dir", "duke", "--tracks"]
    with pytest.raises(UserError, match=r"no tracklet or sequence in 1 names .*0001_c1_f0046182"):
        test.main(words)
    assert "images/s" not in capsys.readouterr().out
    with pytest.raises(UserError, match="tracks gives features unit length, and no_norm"):
        test.main([*words, "--no_norm"])


def test_a_network_that_makes_zeros_of_frames_is_named_as_the_cause(here):
    weights = create_model("test_resnet", weights="none").model.state_dict()
    torch.save({name: torch.zeros_like(value) for name, value in weights.items()}, "zero.pth")
    with pytest.raises(UserError, match="features are all zero, .* The network makes them so"):
        test.main([*NETWORK, "--weights", "zero.pth", "--test_dir", "MARS/pytorch", "--tracks"])
