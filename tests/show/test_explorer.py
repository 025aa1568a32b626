"""The explorer's folder, read as a script would.

tests/show/test_explorer_page.py looks at it in a browser.
"""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet, save_result
from person_reid.retrieval.similarity import CosineScores
from person_reid.retrieval.thresholds import pair_similarities
from person_reid.show import explorer
from person_reid.show.embedding import project, project_all
from person_reid.show.explorer_images import TILE, images_of, write_sprites
from person_reid.show.explorer_views import rank
from tests.support.ranked_people import lay_out, random_sets
from tools import explore

TYPES = {"Float32Array": "<f4", "Float64Array": "<f8", "Int8Array": "i1", "Int32Array": "<i4"}
TYPES |= {"Uint16Array": "<u2", "Uint32Array": "<u4"}


def read(script):
    """The content that a script hands to the page, with arrays in place of base64."""
    text = script.read_text(encoding="ascii")
    name, _, content = text.removeprefix("receive(").removesuffix(");\n").partition(", ")
    assert script.stem.startswith(json.loads(name))
    content = json.loads(content)
    for each in content if isinstance(content, list) else [content]:
        for key, value in each.items():
            if isinstance(value, dict) and "base64" in value:
                each[key] = np.frombuffer(base64.b64decode(value["base64"]), TYPES[value["type"]])
    return content


@pytest.fixture
def inside(here):
    """A folder that holds result.mat and its images; and the query and gallery of that file."""
    return lay_out(here)[1:]


def test_images_of_one_camera_need_a_flag_and_then_show_none(inside):
    query, gallery = inside
    for images in (query, gallery):
        images.cameras[:] = 1
    save_result("one.mat", query, gallery)
    with pytest.raises(UserError, match=r"ignore_cameras of .* explore\.py"):
        explore.main(["--result", "one.mat"])
    explore.main(
        ["--result", "one.mat", "--ignore_cameras", "--rerank", "--method", "aqe", "--k1", "3"]
    )
    metrics = evaluate(query, gallery, ignore_cameras=True)
    assert read(Path("look/data/rankings.js"))[0]["figures"] == metrics.figures()
    assert read(Path("look/data/images.js"))["cameras"] == [""]
    pairs = pair_similarities(query, gallery, ignore_cameras=True)
    accepted = read(Path("look/data/thresholds.js"))["genuine"]
    np.testing.assert_array_equal(accepted[:-1] - accepted[1:], pairs.genuine)


def test_the_figures_are_those_of_evaluate(inside, capsys):
    query, gallery = inside
    explore.main(["--result", "result.mat", "--rerank", "--method", "aqe", "--k1", "3"])
    plain, reranked = read(Path("look/data/rankings.js"))
    metrics = evaluate(query, gallery)
    assert plain["figures"] == metrics.figures() != reranked["figures"]
    np.testing.assert_array_equal(plain["precision"], metrics.average_precision)
    np.testing.assert_array_equal(plain["penalty"], metrics.inverse_negative_penalty)
    np.testing.assert_array_equal(plain["first"], metrics.first_match)
    printed = capsys.readouterr().out
    assert metrics.line("result ") in printed
    assert "result, re-ranked Rank@1" in printed
    assert "look" in printed


def test_a_second_result_is_ranked_like_the_first(inside):
    query, gallery = inside
    for folder in ("mine", "same"):
        Path(folder).mkdir()
        save_result(f"{folder}/result.mat", query, gallery)
    explore.main(["--result", "mine/result.mat", "--other", "same/result.mat", "--ignore_cameras"])
    first, second = read(Path("look/data/rankings.js"))
    assert (
        first["figures"]
        == second["figures"]
        == evaluate(query, gallery, ignore_cameras=True).figures()
    )
    assert (first["name"], second["name"]) == ("mine/result", "same/result")


def test_rankings_are_those_of_a_slow_loop():
    query, gallery = random_sets(seed=3)
    found = rank("plain", query, gallery)
    scores = CosineScores(query.features, gallery.features)(0, len(query))
    match = 0
    for q in range(len(query)):
        order = sorted(range(len(gallery)), key=lambda i: (-scores[q, i], i))
        assert found.listed[q].tolist() == order[: found.listed.shape[1]]
        np.testing.assert_allclose(found.similarities[q], scores[q, found.listed[q]], atol=1e-6)
        valid = [
            i
            for i in order
            if gallery.labels[i] != -1
            and not (
                gallery.labels[i] == query.labels[q] and gallery.cameras[i] == query.cameras[q]
            )
        ]
        for place, image in enumerate(valid):
            if gallery.labels[image] == query.labels[q]:
                assert (found.matches[match], found.ranks[match]) == (image, place)
                match += 1
    assert match == len(found.matches) == found.metrics.num_matches.sum()


def test_features_of_8_bits_are_near_and_numbers_keep_their_order():
    features = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    values, scales = explorer.quantise(features)
    near = values * scales[:, None]
    assert values.dtype == np.int8
    assert np.abs(near @ near.T - features @ features.T).max() < 0.01
    unpacked = explorer.packed_array(np.array([1, -2, 3], ">i4"))
    assert np.frombuffer(base64.b64decode(unpacked["base64"]), "<i4").tolist() == [1, -2, 3]
    square = explorer.to_square(np.array([[0.0, 0], [10, 0], [5, 5]]))
    assert square.tolist() == [[0, 16384], [65535, 16384], [32768, 49151]]


def test_nothing_in_a_name_can_end_a_script(tmp_path):
    explorer.write_script(
        tmp_path / "names.js", "names", {"names": ["</script><script>", "<!--", "é\u2028\ud800"]}
    )
    text = (tmp_path / "names.js").read_text(encoding="ascii")
    assert "<" not in text
    assert read(tmp_path / "names.js")["names"][0] == "</script><script>"


def test_large_identities_are_names():
    """JavaScript would round them."""
    images = FeatureSet(
        np.ones((3, 2)),
        np.array([-1, 0, 123456789012345678]),
        np.array([1, 2, 13]),
        ["a", "b", "c"],
    )
    found = explorer.describe_images(images_of(images.select([2]), images.select([0, 1])))
    assert found["people"] == ["0000", "junk", "123456789012345678"]
    assert found["cameras"] == [
        "1",
        "2",
        "13",
    ]
    assert (found["junk"], found["distractor"], found["unknown"], found["queries"]) == (1, 0, -1, 1)


def test_every_image_has_its_tile(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (103, 3), np.uint8)
    paths = []
    for i, colour in enumerate(colours):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(np.broadcast_to(colour, (8, 4, 3)).copy()).save(paths[-1])
    Path(paths[5]).write_text("not an image")
    Path(paths[6]).unlink()
    wrong = write_sprites(paths, tmp_path / "sheets")
    assert [line.split(": ")[0] for line in wrong] == [paths[5], paths[6]]
    colours[5:7] = 128
    sheets = [
        np.asarray(Image.open(tmp_path / "sheets" / f"{number}.jpg")).astype(int)
        for number in (0, 1)
    ]
    for i, colour in enumerate(colours):
        row, column = divmod(i % 100, 10)
        pixel = sheets[i // 100][row * TILE[0] + TILE[0] // 2, column * TILE[1] + TILE[1] // 2]
        assert np.abs(pixel - colour).max() < 6, i


def test_images_that_moved_are_asked_for(inside, tmp_path, capsys):
    query, gallery = inside
    Path(query.paths[0]).unlink()
    explore.main(["--result", "result.mat", "--save", "one_missing"])
    assert "1 of 42 images cannot be read; their tiles are grey:" in capsys.readouterr().out
    shutil.move("pytorch", "elsewhere")
    with pytest.raises(UserError, match=r"none of the 42 images can be read\. .*as test_dir"):
        explore.main(["--result", "result.mat"])
    assert not Path("look").exists()
    assert not list(tmp_path.glob(".look*"))
    explore.main(["--result", "result.mat", "--test_dir", "elsewhere"])
    assert (tmp_path / "look" / "index.html").is_file()
    assert f"Open {Path('look/index.html')} in a browser" in capsys.readouterr().out
    query.paths = gallery.paths = None
    save_result("result.mat", query, gallery)
    with pytest.raises(UserError, match="does not name its images"):
        explore.main(["--result", "result.mat"])


def test_only_an_explorer_is_replaced(inside, monkeypatch):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    for other in ("mine", "result.mat", "."):
        with pytest.raises(UserError, match="was not written by this command"):
            explore.main(["--result", "result.mat", "--save", other])
    explore.main(["--result", "result.mat"])
    Path("look/.stale").touch()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(explorer, "write_explorer_page", lambda *_: 1 / 0)
        explore.main(["--result", "result.mat"])
    assert Path("look/.stale").exists()
    explore.main(["--result", "result.mat"])
    assert sorted(path.name for path in Path().iterdir()) == [
        "look",
        "mine",
        "pytorch",
        "result.mat",
    ]
    assert not Path("look/.stale").exists()
    assert Path("mine/thesis.txt").read_text() == "mine"


def test_what_somebody_put_into_an_explorer_is_not_deleted(inside):
    explore.main(["--result", "result.mat"])
    Path("look", ".DS_Store").touch()
    explore.main(["--result", "result.mat"])
    Path("look", "notes.txt").write_text("mine")
    with pytest.raises(
        UserError, match=r"look: holds notes\.txt, which this command did not write"
    ):
        explore.main(["--result", "result.mat"])
    assert Path("look", "notes.txt").read_text() == "mine"
    assert Path("look", "index.html").is_file()


def test_results_of_other_images_and_idle_flags_are_refused(inside):
    query, gallery = inside
    save_result("fewer.mat", query, gallery.select(range(20)))
    gallery.cameras[3] += 1
    save_result("moved.mat", query, gallery)
    gallery.cameras[3] -= 1
    gallery.paths[3] = gallery.paths[3].replace("c", "d")
    save_result("renamed.mat", query, gallery)
    for other in ("fewer.mat", "moved.mat", "renamed.mat"):
        with pytest.raises(
            UserError, match=f"other={other}: its .* gallery images are not the 30 of result.mat"
        ):
            explore.main(["--result", "result.mat", "--other", other])
    for flags in (
        ["--k1", "5"],
        ["--method", "gnn"],
        ["--neighbours", "faiss"],
        ["--memory_gb", "1"],
    ):
        with pytest.raises(UserError, match=f"^{flags[0][2:]} would be ignored without rerank"):
            explore.main(["--result", "result.mat", *flags])


def test_a_map_of_many_is_one_of_a_sample_and_the_rest_near_it(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    features = (5 * rng.normal(size=(3, 8)))[labels] + rng.normal(size=(90, 8)) / 5
    samples: list[np.ndarray] = []

    def project_sample(few):
        samples.append(few)
        return project(few)

    with monkeypatch.context() as patch:
        patch.setattr("person_reid.show.embedding.project", project_sample)
        points, _ = project_all(features.astype(np.float32), most=45)
    assert [len(np.unique(few, axis=0)) for few in samples] == [45]  # none twice
    centres = np.stack([points[labels == label].mean(axis=0) for label in range(3)])
    assert (np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1) == labels).all()
    np.testing.assert_array_equal(project_all(features[:20])[0], project(features[:20])[0])
