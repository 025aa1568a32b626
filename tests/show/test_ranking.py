"""The ranking that demo.py shows is the one that the metrics measure, and the picture says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import demo
from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.show import ranking
from person_reid.show.ranking import (
    Match,
    chosen_queries,
    find_image,
    nearest_matches,
    paths_of,
    ranking_row,
)
from person_reid.show.sheet import TILES_OF_LINE, SheetRow, Tile, draw_sheet
from person_reid.show.style import RIGHT, WRONG
from tests.support.ranked_people import lay_out, random_sets

GREEN, RED = (tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (RIGHT, WRONG))


def slow_ranking(query, gallery, index):
    """The definition, image by image: (gallery index, cosine) of all but junk, nearest first."""
    feature, kept = query.features[index] / np.linalg.norm(query.features[index]), []
    for i, (other, label, camera) in enumerate(
        zip(gallery.features, gallery.labels, gallery.cameras, strict=True)
    ):
        own_camera = label == query.labels[index] and camera == query.cameras[index]
        if label != -1 and not own_camera:
            kept.append((i, float(feature @ other / np.linalg.norm(other))))
    return sorted(kept, key=lambda pair: (-round(pair[1], 5), pair[0]))


@pytest.mark.parametrize("index", range(12))
def test_the_ranking_is_the_definition(index):
    query, gallery = random_sets()
    matches, total = nearest_matches(query, gallery, index, top=1000)
    expected = slow_ranking(query, gallery, index)
    assert len(matches) == len(expected)
    np.testing.assert_allclose(
        [match.similarity for match in matches], [cosine for _, cosine in expected], atol=1e-5
    )
    assert {match.index for match in matches} == {i for i, _ in expected}
    for match in matches:
        assert (match.label, match.camera) == (
            gallery.labels[match.index],
            gallery.cameras[match.index],
        )
        assert match.right == (match.label == query.labels[index])
    assert total == sum(match.right for match in matches)


def test_equal_similarities_are_ordered_by_index():
    query, gallery = random_sets(images=3000)
    gallery.features[:] = query.features[0]
    gallery.features[::3] *= -1
    matches, _ = nearest_matches(query, gallery, 0, top=3000)
    assert [match.index for match in matches] == [i for i, _ in slow_ranking(query, gallery, 0)]


def test_the_ranking_agrees_with_the_metrics():
    rng = np.random.default_rng(3)
    query, gallery = random_sets()
    query.features, gallery.features = (
        rng.normal(size=(len(s), 8)).astype(np.float32) for s in (query, gallery)
    )
    first = evaluate(query, gallery).first_match
    for index in range(len(query)):
        verdicts = [match.right for match in nearest_matches(query, gallery, index, top=1000)[0]]
        assert (verdicts.index(True) if any(verdicts) else -1) == first[index]


def test_top_bounds_the_ranking():
    query, gallery = random_sets()
    every, total = nearest_matches(query, gallery, 2, top=1000)
    for top in (1, 7, 10):
        assert nearest_matches(query, gallery, 2, top) == (every[:top], total)


def test_a_gallery_of_junk_alone_is_refused():
    query, gallery = random_sets()
    gallery.labels[:] = -1
    with pytest.raises(UserError, match="junk"):
        nearest_matches(query, gallery, 0)


@pytest.fixture
def laid_out(tmp_path):
    return lay_out(tmp_path)


def count(picture, colour):
    """Pixels of exactly this colour."""
    return int((np.asarray(Image.open(picture).convert("RGB")) == colour).all(2).sum())


def test_summary_of_one_is_singular():
    one, none = Match(0, 1, 1, 0.9, right=True), Match(1, 2, 1, 0.5, right=False, accepted=False)
    words = "1 of the first 2 is right; the gallery holds 1 right one; 1 is below the threshold"
    assert ranking.summary_of_matches([one, none], 1) == words


def test_the_right_images_that_a_ranking_misses_have_their_ranks():
    query, gallery = random_sets()
    for index in range(len(query)):
        every, total = nearest_matches(query, gallery, index, top=1000)
        below = ranking.missed(query, gallery, index, top=3)
        assert below == [match for match in every if match.right and match.rank > 3]
        first = 1 + evaluate(query, gallery).first_match[index]
        words = ranking.summary_of_matches(every[:3], total, below)
        assert (f"the first at rank {first};" in words) == (total > 0)


def test_a_second_row_shows_the_right_images_that_were_missed(laid_out, tmp_path, capsys, drawn):
    result, query, gallery = laid_out
    flags = ["--query_index", "4", "--result", str(result), "--top", "1"]
    below = ranking.missed(query, gallery, 4, top=1)
    demo.main([*flags, "--save", str(tmp_path / "show.png")])
    demo.main([*flags, "--missed", "--save", str(tmp_path / "more.png")])
    assert len(below) == 2
    assert [axes.get_title() for axes in drawn[0].axes] == ["query", "1"]
    assert [axes.get_title() for axes in drawn[1].axes] == ["query", "1", str(below[0].rank)]
    words = [text.get_text() for text in drawn[1].texts]
    assert "Missed: 2 right images, the nearest 1" in words
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[:2] == [str(below[0].rank), "right"]


def test_demo_prints_and_draws_the_ranking(laid_out, tmp_path, capsys):
    result, query, gallery = laid_out
    demo.main(["--query_index", "4", "--result", str(result), "--save", str(tmp_path / "show.png")])
    lines = capsys.readouterr().out.splitlines()
    matches, total = nearest_matches(query, gallery, 4)
    assert lines[0].startswith(
        f"query 4: identity {query.labels[4]:04d}, camera {query.cameras[4]}"
    )
    assert len(lines) == 1 + len(matches) + 2
    for line, match in zip(lines[1:], matches, strict=False):
        assert ("right" in line) == match.right
        assert f"{match.label:04d}  camera {match.camera}  {match.similarity:.4f}" in line
        assert line.endswith(str(Path(gallery.paths[match.index])))
    right = sum(match.right for match in matches)
    are = "is" if right == 1 else "are"
    first = 1 + evaluate(query, gallery).first_match[4]
    found = f"{right} of the first 10 {are} right, the first at rank {first}"
    assert lines[-2] == f"{found}; the gallery holds {total} right ones"
    assert lines[-1].endswith("show.png")
    with Image.open(tmp_path / "show.png") as picture:
        assert picture.width > 1200


@pytest.mark.parametrize(("shown", "expected"), [(7, 7), (11, 11), (12, 0)])
def test_demo_shows_the_published_query_where_there_are_so_many(
    shown, expected, laid_out, monkeypatch, capsys
):
    result, query, _ = laid_out
    assert demo.USUAL_QUERY == 777
    assert len(query) == 12
    monkeypatch.setattr(demo, "USUAL_QUERY", shown)
    demo.main(["--result", str(result), "--save", str(result.with_name("show.png"))])
    assert capsys.readouterr().out.startswith(f"query {expected}: ")


@pytest.mark.parametrize("verdicts", [[True] * 10, [False] * 10, [True, False, True] * 5, [True]])
def test_every_image_has_a_frame_of_its_colour(verdicts, tmp_path):
    Image.new("RGB", (64, 128), (90, 90, 90)).save(tmp_path / "grey.png")
    matches = [
        Match(i, 7, 2, 0.5, right, tmp_path / "grey.png") for i, right in enumerate(verdicts)
    ]
    draw_sheet([ranking_row(tmp_path / "grey.png", matches, "title")], tmp_path / "show.png")
    green, red = count(tmp_path / "show.png", GREEN), count(tmp_path / "show.png", RED)
    assert (green > 0) == any(verdicts)
    assert (red > 0) == (not all(verdicts))
    if any(verdicts) and not all(verdicts):
        assert green / red == pytest.approx(
            sum(verdicts) / (len(verdicts) - sum(verdicts)), rel=0.1
        )


def test_more_than_a_row_is_drawn_in_rows(tmp_path):
    Image.new("L", (64, 128), 90).save(tmp_path / "grey.png")  # greyscale, too
    heights = []
    for number in (TILES_OF_LINE, TILES_OF_LINE + 1, 3 * TILES_OF_LINE):
        matches = [Match(i, 7, 2, 0.5, True, tmp_path / "grey.png") for i in range(number)]
        draw_sheet([ranking_row(tmp_path / "grey.png", matches, "title")], tmp_path / "show.png")
        with Image.open(tmp_path / "show.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1] < heights[2]


def test_an_unreadable_image_is_named_and_the_old_picture_kept(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "show.png").write_bytes(b"old")
    with pytest.raises(UserError, match=r"broken\.jpg: not a readable image"):
        draw_sheet([SheetRow([Tile(tmp_path / "broken.jpg")])], tmp_path / "show.png")
    assert (tmp_path / "show.png").read_bytes() == b"old"


def test_images_that_moved_are_found_by_test_dir(laid_out, tmp_path, capsys):
    result, query, _ = laid_out
    (tmp_path / "pytorch").rename(tmp_path / "moved")
    arguments = ["--result", str(result), "--save", str(tmp_path / "show.png")]
    with pytest.raises(UserError, match=r"no such image.*test_dir"):
        demo.main(arguments)
    assert not (tmp_path / "show.png").exists()
    demo.main([*arguments, "--test_dir", str(tmp_path / "moved")])
    assert (tmp_path / "show.png").is_file()
    assert find_image(query.paths[0], tmp_path / "moved").is_file()
    (tmp_path / "moved").rename(tmp_path / "pytorch")
    # The image in the old place is not taken in silence.
    with pytest.raises(UserError, match=r"moved.*no such image"):
        demo.main([*arguments, "--test_dir", str(tmp_path / "moved")])


def leave_paths_out(result):
    content = {
        key: value
        for key, value in scipy.io.loadmat(result).items()
        if key[0] != "_" and "path" not in key
    }
    scipy.io.savemat(result, content)


def test_a_result_file_without_paths_takes_them_from_the_folders(
    laid_out, tmp_path, monkeypatch, capsys
):
    result, _, gallery = laid_out
    leave_paths_out(result)
    bare = FeatureSet(gallery.features, gallery.labels, gallery.cameras)
    assert paths_of(bare, "gallery", tmp_path / "pytorch") == gallery.paths
    arguments = ["--result", str(result), "--save", str(tmp_path / "show.png")]
    demo.main([*arguments, "--test_dir", str(tmp_path / "pytorch")])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match="does not name its images"):
        demo.main(arguments)  # where the published code looks, beside which there is nothing
    Path(gallery.paths[-1]).unlink()
    with pytest.raises(UserError, match=r"holds 29 images, not the 30 of the result file"):
        demo.main([*arguments, "--test_dir", str(tmp_path / "pytorch")])


def test_the_folders_are_read_once_for_all_queries(laid_out, tmp_path, monkeypatch):
    result = laid_out[0]
    leave_paths_out(result)
    read = []

    def read_split(data_dir, split, original=ranking.read_split):
        read.append(split)
        return original(data_dir, split)

    monkeypatch.setattr(ranking, "read_split", read_split)
    folders = [
        "--result",
        str(result),
        "--test_dir",
        str(tmp_path / "pytorch"),
        "--save",
        str(tmp_path / "show.png"),
    ]
    demo.main(["--query_index", "0,1,2", *folders])
    assert sorted(read) == ["gallery", "query"]


def test_what_is_below_the_threshold_is_marked_as_rejected(laid_out, tmp_path, capsys):
    result = str(laid_out[0])
    demo.main(["--query_index", "1", "--result", result, "--save", str(tmp_path / "all.png")])
    similarities = [float(line.split()[5]) for line in capsys.readouterr().out.splitlines()[1:-2]]
    threshold = (similarities[0] + similarities[-1]) / 2
    flags = ["--query_index", "1", "--result", result, "--threshold", str(threshold)]
    demo.main([*flags, "--save", str(tmp_path / "some.png")])
    lines = capsys.readouterr().out.splitlines()[1:-1]
    rejected = [similarity < threshold for similarity in similarities]
    assert ["rejected" in line for line in lines[:-1]] == rejected
    assert 0 < sum(rejected) < len(rejected)
    assert f"{sum(rejected)} are below the threshold" in lines[-1]
    assert (tmp_path / "some.png").read_bytes() != (tmp_path / "all.png").read_bytes()
    promise = {
        "threshold": threshold,
        "rate": 0.01,
        "confidence": 0.95,
        "people": 60,
        "gallery_size": 1,
    }
    (tmp_path / "threshold.json").write_text(
        json.dumps({"threshold": threshold, "promise": promise})
    )
    demo.main([*flags[:-1], str(tmp_path / "threshold.json"), "--save", str(tmp_path / "some.png")])
    words = (
        "accepts at most 0.01 of pairs of strangers "
        "from different cameras (confidence 0.95, 60 people)"
    )
    assert capsys.readouterr().out.splitlines()[0] == f"threshold {threshold:.4f} {words}"


def test_the_worst_queries_are_those_of_the_lowest_average_precision():
    rng = np.random.default_rng(7)
    query, gallery = random_sets()
    query.features, gallery.features = (
        rng.normal(size=(len(s), 8)).astype(np.float32) for s in (query, gallery)
    )
    gallery.labels[gallery.labels == query.labels[3]] = 99  # a query without a right answer
    metrics = evaluate(query, gallery)
    found = chosen_queries(query, gallery, worst=4)
    assert (
        list(found)
        == sorted(np.flatnonzero(metrics.num_matches), key=lambda i: metrics.average_precision[i])[
            :4
        ]
    )
    assert all(
        precision == pytest.approx(metrics.average_precision[i]) for i, precision in found.items()
    )
    assert 3 not in chosen_queries(query, gallery, worst=100)
    for camera in np.unique(query.cameras):
        own = chosen_queries(query, gallery, camera=camera)
        assert list(own) == np.flatnonzero(query.cameras == camera).tolist()
        worst_of_all = [
            i for i in chosen_queries(query, gallery, worst=100) if query.cameras[i] == camera
        ]
        assert list(chosen_queries(query, gallery, camera=camera, worst=2)) == worst_of_all[:2]
    assert list(chosen_queries(query, gallery, [7, 3])) == [7, 3]
    best = list(chosen_queries(query, gallery, best=2))
    assert best == list(chosen_queries(query, gallery, worst=100))[::-1][:2]
    assert list(chosen_queries(query, gallery, best=2, worst=4)) == [*best, *found]


def test_several_queries_stand_on_one_sheet(laid_out, tmp_path, capsys, drawn):
    result, query, _ = laid_out
    arguments = ["--result", str(result), "--save", str(tmp_path / "show.png"), "--top", "4"]
    demo.main([*arguments, "--query_index", "3,0,7"])
    words = [text.get_text() for text in drawn[0].texts]
    titles = [
        f"Query {i}: identity {query.labels[i]:04d}, camera {query.cameras[i]}" for i in (3, 0, 7)
    ]
    assert [word for word in words if word.startswith("Query")] == titles
    assert len(drawn[0].axes) == 3 * 5
    demo.main([*arguments, "--worst", "2"])
    assert len(drawn[1].axes) == 2 * 5
    assert "average precision 0." in " ".join(text.get_text() for text in drawn[1].texts)


def test_many_queries_fill_numbered_sheets(laid_out, tmp_path, capsys, monkeypatch, drawn):
    result, query, _ = laid_out
    monkeypatch.setattr(demo, "QUERIES_OF_SHEET", 2)
    camera = np.bincount(query.cameras).argmax()
    arguments = ["--result", str(result), "--save", str(tmp_path / "show.pdf"), "--top", "2"]
    demo.main([*arguments, "--camera", str(camera)])
    sheets = -(-int((query.cameras == camera).sum()) // 2)
    assert sheets > 1
    assert sorted(path.name for path in tmp_path.glob("*.pdf")) == [
        f"show_{i + 1:02d}.pdf" for i in range(sheets)
    ]
    assert f"show_{sheets:02d}.pdf" in capsys.readouterr().out
    words = [text.get_text().split(":")[0] for figure in drawn for text in figure.texts]
    assert [word for word in words if word.startswith("Query")] == [
        f"Query {i}" for i in np.flatnonzero(query.cameras == camera)
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--query_index", "3", "--worst", "2"], "drop best, worst and camera"),
        (["--query_index", "3,12"], "query_index=12: expected 0 to 11"),
        (["--query_index", "-1"], "query_index=-1: expected 0 to 11"),
        (["--camera", "9"], "camera=9: no query is from it; there are queries of camera 1, 2, 3"),
        (["--best", "2", "--labels", "a"], "labels=a: expected 2, in place of: Query"),
    ],
)
def test_choices_that_cannot_be_shown_are_refused(flags, expected, laid_out, tmp_path):
    with pytest.raises(UserError, match=expected):
        demo.main(["--result", str(laid_out[0]), "--save", str(tmp_path / "show.png"), *flags])
    assert not (tmp_path / "show.png").exists()


def test_a_range_of_queries_is_each_of_them(laid_out, tmp_path, capsys):
    flags = ["--result", str(laid_out[0]), "--save", str(tmp_path / "show.png"), "--top", "1"]
    demo.main([*flags, "--query_index", "7,0-2,2"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(":") for line in printed if line.startswith("query")] == [
        "7",
        "0",
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        *(("--query_index", words) for words in ("3,x", "5-3", "1-", "0-999999999")),
        *(("--worst", words) for words in ("0", "-2")),
        ("--best", "0"),
        ("--top", "0"),
    ],
)
def test_a_choice_that_is_none_ends_with_status_2(flag, words, capsys):
    with pytest.raises(SystemExit) as ended:
        demo.main([flag, words])
    assert ended.value.code == 2
    assert flag in capsys.readouterr().err


@pytest.mark.parametrize(("best", "worst"), [(2, None), (None, 2)])
def test_the_best_of_queries_without_a_right_answer_are_refused(best, worst):
    query, gallery = random_sets()
    others = FeatureSet(gallery.features, gallery.labels + 1000, gallery.cameras)
    with pytest.raises(UserError, match=r"(best|worst)=2: no query has a right answer"):
        chosen_queries(query, others, best=best, worst=worst)
