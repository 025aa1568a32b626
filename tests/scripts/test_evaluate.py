"""The commands as a user types them."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import evaluate
import evaluate_gpu
import evaluate_rerank
import person_reid as reid
import prepare
from person_reid.config.evaluate import EvaluateGpuConfig
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.console import parse
from person_reid.data.layout import read_split
from person_reid.deploy.publish import query_and_gallery
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.retrieval.bound import Bound, bounded_threshold
from person_reid.retrieval.protocols import evaluate_single_shot
from person_reid.retrieval.results import (
    FeatureSet,
    load_multi_query,
    load_result,
    save_multi_query,
    save_result,
)
from person_reid.retrieval.thresholds import error_rates, pair_similarities
from tests.retrieval.test_bound import people
from tests.support import ROOT
from tests.support.packages import block_all_but
from tests.support.ranked_people import random_sets
from tools import threshold

LINE = r"Rank@1:{:.6f} Rank@5:{:.6f} Rank@10:{:.6f} mAP:{:.6f} mINP:0\.\d{{6}}"


@pytest.fixture
def result(fixtures):
    return str(fixtures / "retrieval" / "pytorch_result.mat")


def expect(figures, prefix=""):
    return re.escape(prefix) + LINE.format(*figures).replace("Rank@1:1.", r"Rank@1:1\.") + "\n"


@pytest.mark.parametrize("script", [evaluate, evaluate_gpu])
def test_single_and_multiple_queries_have_the_published_figures(script, result, published, capsys):
    script.main(["--result", result])
    expected = published[3]
    lines = expect(expected["single_query"]) + expect(expected["multi_query"], "multi ")
    assert re.fullmatch(lines, capsys.readouterr().out)


def test_the_default_file_is_read_without_a_multiple_query(result, published, capsys, here):
    with pytest.raises(
        UserError, match=r"^pytorch_result\.mat: no features there\. .*python test\.py"
    ):
        evaluate.main([])
    shutil.copy(result, here)
    evaluate.main([])
    assert re.fullmatch(expect(published[3]["single_query"]), capsys.readouterr().out)


def test_which_multiple_query_belongs_to_a_result_tells_its_name(
    result, published, fixtures, capsys, tmp_path
):
    """Under the published names both; beside market.mat, multi_query.mat is another network's."""
    shutil.copy(result, tmp_path / "market.mat")
    single = expect(published[3]["single_query"])
    both = expect(published[3]["multi_query"], "multi ")
    for name, expected in (("multi_query.mat", single), ("market_multi_query.mat", single + both)):
        shutil.copy(fixtures / "retrieval" / "multi_query.mat", tmp_path / name)
        evaluate.main(["--result", str(tmp_path / "market.mat")])
        assert re.fullmatch(expected, capsys.readouterr().out)


def test_the_packages_that_evaluate_names_are_enough(result, tmp_path):
    listed = re.search(r"Needs no PyTorch: (.+) suffice\.", evaluate.__doc__)[1]
    blocked = block_all_but(re.split(", | and ", listed.lower()), tmp_path)
    assert {"torch", "torchvision", "sklearn", "matplotlib"} <= blocked
    words = [sys.executable, str(ROOT / "evaluate.py"), "--result", result]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": path})


def test_an_influence_of_the_camera_is_remarked_unless_cameras_are_ignored(capsys, here):
    random = np.random.default_rng(0)
    people, cameras = np.arange(120) % 40, np.arange(120) // 40
    features = random.normal(size=(40, 16))[people] + 8 * random.normal(size=(3, 16))[cameras]
    images = reid.FeatureSet(features + random.normal(size=(120, 16)), people, cameras)
    save_result("pytorch_result.mat", images, images)
    for words, remarked in ([], True), (["--ignore_cameras"], False):
        evaluate.main(words)
        assert ("in the query's own camera" in capsys.readouterr().err) == remarked


def test_a_multiple_query_of_another_network_is_left_out(fixtures, capsys, here):
    """`test.py --multi`, then test.py with another network: the published suite mixes the two."""
    query, gallery = load_result(fixtures / "retrieval" / "pytorch_result.mat")
    images = load_multi_query(fixtures / "retrieval" / "multi_query.mat")
    save_multi_query("multi_query.mat", images, query)
    save_result("pytorch_result.mat", query, gallery)
    evaluate.main([])
    assert capsys.readouterr().out.count("mAP:") == 2
    query.features = query.features[:, ::-1].copy()
    save_result("pytorch_result.mat", query, gallery)
    evaluate.main([])
    captured = capsys.readouterr()
    assert captured.out.count("mAP:") == 1
    assert "multi_query.mat: belongs to other features" in captured.err
    with pytest.raises(
        UserError, match=r"belongs to other features than those of pytorch_result\.mat"
    ):
        evaluate.main(["--multi_query", "multi_query.mat"])


def multi_queries(query, kind):
    """Images for multiple queries that do not fit the queries, and the words that say so."""
    shown, asked = query.select(np.arange(len(query))), len(query)
    if kind == "other people":
        shown.labels = shown.labels + 10_000
        return shown, "has no image of any query of pytorch_result.mat in the query's camera"
    if kind == "another width":
        shown.features = shown.features[:, :-1].copy()
        width = query.features.shape[1]
        return (
            shown,
            f"has features of {width - 1} dimensions; those of pytorch_result.mat have {width}",
        )
    shown.labels[query.labels != query.labels[0]] += 10_000  # "some other people"
    without = int((query.labels != query.labels[0]).sum())
    return shown, f"lacks {without} of {asked} queries, so it may show other people"


@pytest.mark.parametrize("script", [evaluate, evaluate_gpu])
@pytest.mark.parametrize("kind", ["other people", "another width", "some other people"])
def test_a_published_multiple_query_of_other_people_is_left_out(
    script, kind, fixtures, capsys, here
):
    """It has the name of the default and no note of the queries it was written for."""
    query, gallery = load_result(fixtures / "retrieval" / "pytorch_result.mat")
    save_result("pytorch_result.mat", query, gallery)
    images, words = multi_queries(query, kind)
    savemat(
        "multi_query.mat",
        {"mquery_f": images.features, "mquery_label": images.labels, "mquery_cam": images.cameras},
    )
    script.main([])
    out, err = capsys.readouterr()
    assert out.count("mAP:") == 1
    assert err.count(f"multi_query.mat: {words}. It is ignored.") == 1
    if kind == "some other people":  # that somebody asks for
        script.main(["--multi_query", "multi_query.mat"])
        out, err = capsys.readouterr()
        assert out.count("mAP:") == 2
        assert "have no image there and keep their own feature" in err
    else:
        with pytest.raises(UserError, match=re.escape(words)):
            script.main(["--multi_query", "multi_query.mat"])


@pytest.mark.parametrize("flags", [[], ["--ignore_cameras"], ["--single_shot"]])
def test_queries_without_a_match_are_counted_in_one_line(flags, fixtures, capsys, here):
    query, gallery = load_result(fixtures / "retrieval" / "pytorch_result.mat")
    strange = 1 + query.labels.max() + gallery.labels.max()
    query.labels[:3] = strange
    save_result("pytorch_result.mat", query, gallery)
    save_multi_query("multi_query.mat", query, query)
    evaluate.main(flags)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "no match in the gallery" in line
    ]
    assert len(lines) == 1
    assert re.match(r"\d of 60 queries have no match", lines[0])


@pytest.mark.parametrize("script", [evaluate, evaluate_rerank])
def test_a_multiple_query_that_is_not_there_is_told_before_the_ranking(script, result, capsys):
    with pytest.raises(
        UserError, match=r"nowhere\.mat: not a file\. .*test\.py --name NAME --multi"
    ):
        script.main(["--result", result, "--multi", "nowhere.mat"])
    assert "mAP" not in capsys.readouterr().out


def test_the_distance_is_named_where_it_is_not_the_usual(result, published, capsys):
    evaluate.main(["--result", result, "--distance", "euclidean"])
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith(" (Euclidean distance)")
    assert re.fullmatch(
        expect(published[3]["single_query"]), line.removesuffix(" (Euclidean distance)") + "\n"
    )


@pytest.mark.parametrize(
    ("method", "key"),
    [("k-reciprocal", "k_reciprocal k1=20 k2=6 lambda=0.3"), ("gnn", "gnn k1=26 k2=7 lambda=0.3")],
)
def test_re_ranking_gives_the_published_figures(result, published, capsys, method, key):
    evaluate_rerank.main(["--result", result, "--method", method])
    out, err = capsys.readouterr()
    assert re.fullmatch(expect(published[3][key], "re-ranked "), out)
    assert re.search(rf"{method}: about \d+\.\d\d GB", err)


def test_multiple_queries_are_re_ranked_when_named(result, fixtures, capsys):
    evaluate_rerank.main(
        ["--result", result, "--multi_query", str(fixtures / "retrieval" / "multi_query.mat")]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("Rank")[0] for line in lines] == ["re-ranked ", "multi re-ranked "]


@pytest.mark.parametrize(
    "flags",
    [
        ["--method", "aqe", "--alpha", "3", "--augment", "2"],
        ["--neighbours", "faiss"],
        ["--k1", "10", "--k2", "3"],
    ],
)
def test_other_ways_to_re_rank_help_too(result, capsys, published, flags):
    evaluate_rerank.main(["--result", result, *flags])
    precision = mean_average_precision(capsys.readouterr().out)
    assert published[3]["single_query"][3] + 0.05 < precision < 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--k1", "521"], "k1=521: expected 1 to 520"),
        (["--k2", "99"], "k2=99: expected 1 to 20"),
        (
            ["--alpha", "3"],
            "alpha: method=k-reciprocal does not use it; it takes k1, k2, lambda_value",
        ),
        (["--method", "aqe", "--lambda_value", "0.5"], "lambda_value: method=aqe does not use"),
        (["--lambda_value", "1.5"], "lambda_value=1.5: expected 0 to 1"),
        (["--memory_gb", "0.0001"], "memory_gb=0.0001: 580 images need at least"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused(result, flags, words):
    with pytest.raises(UserError, match=re.escape(words)):
        evaluate_rerank.main(["--result", result, *flags])


def test_a_distance_or_single_shots_are_not_for_re_ranking(result, capsys):
    for flags in (["--single_shot"], ["--distance", "euclidean"]):
        with pytest.raises(SystemExit):
            evaluate_rerank.main(["--result", result, *flags])
        assert f"unrecognized arguments: {flags[0]}" in capsys.readouterr().err
    with pytest.raises(UserError, match="single_shot does not work with .* another distance"):
        evaluate.main(["--result", result, "--single_shot", "--distance", "euclidean"])


def test_definitions_that_differ_are_named(result, capsys):
    evaluate.main(["--result", result, "--ap", "step", "--ignore_cameras", "--single_shot"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        evaluate_single_shot(*load_result(result), "step", ignore_cameras=True).line()
    )
    for line in lines:
        assert re.search(
            r" mAP\(step\):\S+ mINP:\S+ \(cameras ignored, single gallery shot\)$", line
        )


def test_one_camera_is_explained(tmp_path, result):
    query, gallery = load_result(result)
    query.cameras[:] = gallery.cameras[:] = 0
    save_result(tmp_path / "one.mat", query, gallery)
    with pytest.raises(UserError, match=r"all images are of camera 0"):
        evaluate.main(["--result", str(tmp_path / "one.mat")])


def test_every_query_is_listed(result, capsys, tmp_path):
    evaluate.main(["--result", result, "--save_per_query", str(tmp_path / "queries.csv")])
    with (tmp_path / "queries.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    out = capsys.readouterr().out
    printed = mean_average_precision(out)
    assert len(rows) == 60
    assert sum(float(row["AP"]) for row in rows) / 60 == pytest.approx(printed, abs=1e-6)
    worst = min(rows, key=lambda row: float(row["AP"]))
    assert worst["first_match"] == ""
    assert f"query {worst['query']}  AP 0.0000, first match at rank none" in out
    assert all(int(row["first_match"]) >= 1 for row in rows if float(row["AP"]) > 0)


@pytest.mark.parametrize(
    ("rule", "kind", "name"),
    [("1e-3", "all_pairs", "1e-3"), ("hardest", "hardest_per_query", "eer")],
)
def test_a_threshold_is_written_and_drawn(rule, kind, name, result, capsys, tmp_path):
    threshold.main(["--result", result, "--rule", rule, "--save", str(tmp_path / "found")])
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["threshold"] == report[kind]["rules"][name]["threshold"]
    assert report["threshold"] != report["all_pairs"]["rules"]["eer"]["threshold"]
    assert f"threshold {report['threshold']:.4f} ({rule})" in capsys.readouterr().out
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def result_of(folder, count):
    """A query and a gallery of made people, and the words of threshold.py for their result."""
    query, gallery = people(count)
    save_result(folder / "people.mat", query, gallery)
    words = ["--result", str(folder / "people.mat"), "--save", str(folder / "found")]
    return query, gallery, words


def test_pairs_of_one_camera_count_if_cameras_are_ignored(tmp_path):
    query, gallery, words = result_of(tmp_path, 80)
    bounded = ["--ignore_cameras", "--false_match_rate", "0.2", "--confidence", "0.8"]
    threshold.main([*words, *bounded])
    report = json.loads((tmp_path / "found.json").read_text())
    assert (
        report["all_pairs"]
        == error_rates(pair_similarities(query, gallery, ignore_cameras=True))["all_pairs"]
    )
    found = bounded_threshold(query, gallery, 0.2, 0.8, ignore_cameras=True).threshold
    assert report["threshold"] == found != bounded_threshold(query, gallery, 0.2, 0.8).threshold
    assert report["cameras"] == {}


def test_a_threshold_says_what_it_was_measured_on(result, here):
    save_result("mine.mat", *load_result(result), "mine net_60")
    for file, network in ((result, None), ("mine.mat", "mine net_60")):
        threshold.main(["--result", file])
        assert json.loads(Path("threshold.json").read_text()).get("measured_on") == network


def test_a_threshold_is_measured_on_a_folder_by_the_network_in_the_package(changed_clothes):
    threshold.main(["--test_dir", "people"])
    report = json.loads(Path("threshold.json").read_text())
    query, gallery = query_and_gallery(reid.Embedder(), "people")
    assert report["all_pairs"] == error_rates(pair_similarities(query, gallery))["all_pairs"]
    assert (report["result"], report["measured_on"]) == ("people", PACKAGED_NETWORK)
    with pytest.raises(UserError, match="test_dir replaces result"):
        threshold.main(["--test_dir", "people", "--result", "a.mat"])


def test_a_bound_is_printed_written_and_kept_to(capsys, tmp_path):
    query, gallery, words = result_of(tmp_path, 200)
    words.append("--false_match_rate")
    threshold.main([*words, "0.02"])
    report, printed = json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out
    expected = bounded_threshold(query, gallery, 0.02, 0.95)
    assert report["threshold"] == expected.threshold
    assert Bound(**report["promise"]) == expected
    assert (
        f"threshold {expected.threshold:.4f} accepts at most 0.02 of pairs of strangers "
        "from different cameras (confidence 0.95, 200" in printed
    )
    asked, there = (each.select((each.cameras != 3).nonzero()[0]) for each in (query, gallery))
    of_two = bounded_threshold(asked, there, 0.02, 0.95)
    assert report["cameras"]["1-2"]["threshold"] == of_two.threshold
    assert f"  cameras 1-2: threshold {of_two.threshold:.4f}, {of_two.people} people\n" in printed
    threshold.main([*words, "0.3", "--gallery_size", "--confidence", "0.8"])
    report = json.loads((tmp_path / "found.json").read_text())
    assert Bound(**report["promise"]) == bounded_threshold(query, gallery, 0.3, 0.8, 400)
    assert report["cameras"] == {}
    threshold.main([*words, "0.0008"])
    assert (
        "  cameras 1-2: cannot guarantee a false-match rate of 0.0008 with so few pe"
        in capsys.readouterr().out
    )


def test_a_bound_that_cannot_be_kept_leaves_no_file(result, tmp_path):
    words = ["--result", result, "--save", str(tmp_path / "found")]
    with pytest.raises(UserError, match="with so few people"):
        threshold.main([*words, "--false_match_rate", "1e-3"])
    for flags in (
        ["--confidence", "0.9"],
        ["--gallery_size"],
        ["--false_match_rate", "0.1", "--rule", "eer"],
    ):
        with pytest.raises(UserError, match="false_match_rate"):
            threshold.main([*words, *flags])
    with pytest.raises(
        UserError, match="^confidence=0.9 would be ignored without false_match_rate"
    ):
        threshold.main([*words, "--confidence", "0.9"])
    assert not list(tmp_path.iterdir())


def mean_average_precision(text):
    return float(text.split("mAP:")[1].split()[0])


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("script", ["evaluate", "evaluate_rerank"])
def test_no_torch_is_loaded(script, result):
    program = (
        f"import sys, {script}; {script}.main(['--result', {result!r}]); "
        "assert 'torch' not in sys.modules"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "flags", [["--single_shot"], ["--gap", "5"], ["--by", "cameras"]], ids=" ".join
)
def test_protocols_that_several_processes_cannot_share_are_refused(flags):
    config = parse(EvaluateGpuConfig, flags)
    with pytest.raises(UserError, match="single_shot, gap and by do not work with torchrun"):
        evaluate.report(config, world=World(size=2))


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(result, published):
    done = run(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "evaluate_gpu.py",
        "--result",
        result,
    )
    expected = expect(published[3]["single_query"]) + expect(published[3]["multi_query"], "multi ")
    assert re.fullmatch(expected, done.stdout), done.stderr
    assert done.stdout == run("evaluate.py", "--result", result).stdout


@pytest.mark.parametrize("script", [evaluate, evaluate_rerank])
def test_a_table_for_a_paper_stands_alone_on_standard_output(script, result, capsys, tmp_path):
    script.main(["--result", result, "--csv", "--json", str(tmp_path / "figures.json")])
    captured = capsys.readouterr()
    rows = list(csv.DictReader(captured.out.splitlines()))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [row["run"] for row in rows] == list(figures)
    for row, found in zip(rows, figures.values(), strict=True):
        assert row["Rank@1"] == f"{100 * found['rank1']:.2f}"
        assert row["mINP"] == f"{100 * found['mINP']:.2f}"
    assert "Rank@1:" in captured.err
    script.main(["--result", result, "--ap", "step", "--latex"])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == r"\begin{tabular}{lrrrrr}"
    assert last == r"\end{tabular}"


def test_only_one_form_of_a_table_can_be_had(result):
    with pytest.raises(UserError, match="latex and csv are two forms of a table"):
        evaluate.main(["--result", result, "--latex", "--csv"])


@pytest.fixture
def changed_clothes(here):
    """A result whose names say clothes, as prepare.py --csv writes them."""
    random = np.random.default_rng(0)
    lines = ["path,identity,camera,clothes,split"]
    for who in range(1, 7):
        for camera, part in ((1, "query"), (2, "gallery"), (3, "gallery")):
            name = f"{who}-{camera}.jpg"
            Image.fromarray(random.integers(0, 255, (8, 4, 3), np.uint8)).save(name)
            # Persons 5 and 6 always wear the same.
            lines.append(f"{name},{who},{camera},{1 + (camera == 3 and who < 5)},{part}")
    Path("list.csv").write_text("\n".join(lines))
    prepare.main(["--csv", "list.csv", "--save_dir", "people"])
    sets = []
    for split in (read_split("people", "query"), read_split("people", "gallery")):
        features = random.standard_normal((len(split), 4)) + 2 * np.eye(7, 4)[split.labels % 4]
        paths = [path.as_posix() for path in split.paths]
        sets.append(FeatureSet(features, split.labels, split.cameras, paths))
    save_result("pytorch_result.mat", sets[0], sets[1])
    return sets


@pytest.mark.parametrize(
    ("script", "flags", "prefix"),
    [
        (evaluate, [], ""),
        (evaluate_gpu, ["--gpu_ids", "-1"], ""),
        (evaluate_rerank, ["--k1", "3", "--k2", "1"], "re-ranked "),
    ],
)
def test_both_protocols_of_clothes_are_printed(script, flags, prefix, changed_clothes, capsys):
    query, gallery = changed_clothes
    capsys.readouterr()
    files = ["--json", "figures.json", "--save_per_query", "queries.csv"]
    script.main(["--clothes", *files, *flags])
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if "mAP" in line]
    words = [line.split("Rank")[0] for line in lines]
    assert words == [f"{prefix}{name} " for name in ("general", "clothes-changing", "same-clothes")]
    assert "2 of 6 queries have no match in other clothes and are ignored." in err
    assert len(Path("queries.csv").read_text().splitlines()) == 7
    found = json.loads(Path("figures.json").read_text())
    if not prefix:
        assert found["same-clothes"]["protocol"] == "matches in the same clothes"
        other = (np.ones(6, int), 1 + ((gallery.cameras == 3) & (gallery.labels < 5)))
        expected = {
            "general": reid.evaluate(query, gallery).figures(),
            "clothes-changing": reid.evaluate(query, gallery, clothes=other).figures(),
            "same-clothes": reid.evaluate(
                query, gallery, clothes=other, same_clothes=True
            ).figures(),
        }
        assert found == expected


def test_clothes_that_no_name_says_are_asked_for(result, changed_clothes):
    with pytest.raises(UserError, match="the result has no names of images"):
        evaluate.main(["--result", result, "--clothes"])
    query, gallery = changed_clothes
    gallery.paths = [path.replace("o1", "").replace("o2", "") for path in gallery.paths]
    save_result("nameless.mat", query, gallery)
    with pytest.raises(UserError, match=r"12 of 12 names of images do not say the clothes"):
        evaluate.main(["--result", "nameless.mat", "--clothes"])


@pytest.fixture
def video(here):
    """A result of a video: four people in each of three frames, 25 apart."""
    names = [f"{who:04d}_c1s1_{frame:06d}_0{who}.jpg" for frame in (1, 26, 51) for who in range(4)]
    features = np.eye(4)[[0, 1, 2, 3, 0, 2, 1, 3, 0, 1, 2, 3]] + 0.1
    images = FeatureSet(features, [0, 1, 2, 3] * 3, [1] * 12, names)
    save_result("pytorch_result.mat", images.select(range(4)), images.select(range(4, 12)))


@pytest.mark.parametrize("script", [evaluate, evaluate_gpu])
def test_a_gap_asks_who_is_found_again(script, video, capsys):
    script.main(["--gap", "25", "--json", "figures.json"])
    out, err = capsys.readouterr()
    # By hand: persons 1 and 2 are exchanged in frame 26, before and after it.
    assert "\nre-associated Rank@1:0.333333 " in out
    assert " MRR:0.611111 " in out
    assert out.rstrip().endswith("(25 frames later, as Roboflow's reid measures it)")
    assert "6 of 9 images of people are queries." in out
    assert "average precision" not in err
    assert set(json.loads(Path("figures.json").read_text())) == {"re-associated"}
    script.main(["--gap", "25", "--query_stride", "26"])
    assert "3 of 3 images of people are queries." in capsys.readouterr().out
    script.main(["--gap", "25", "--latex"])
    assert "MRR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gap", "7"], "gap=7: none of 9 images of people has the person"),
        (["--gap", "25", "--ap", "step"], "ap would be ignored: gap ranks the people of one"),
        (["--gap", "25", "--clothes"], "clothes would be ignored: gap ranks"),
        (["--single_shot", "--gap", "5"], "single_shot does not work with by or gap"),
        (["--query_stride", "60"], "query_stride=60 would be ignored"),
    ],
)
def test_flags_beside_a_gap_that_would_be_ignored_are_refused(flags, words, video):
    with pytest.raises(UserError, match=re.escape(words)):
        evaluate.main(flags)


END = r"\[[01]\.\d{4}, [01]\.\d{4}\]"


@pytest.mark.parametrize(
    ("script", "flags"), [(evaluate, ["--ap", "step"]), (evaluate_gpu, []), (evaluate_rerank, [])]
)
def test_intervals_follow_each_line(script, flags, result, capsys, here):
    script.main(["--result", result, *flags, "--bootstrap", "200", "--json", "found.json"])
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads((here / "found.json").read_text())
    assert len(lines) == 2 * len(figures)
    for line, (name, found) in zip(lines[1::2], figures.items(), strict=True):
        prefix = "" if name == "single" else f"{name} "
        mean_ap = "mAP(step)" if flags else "mAP"
        names = ("Rank@1", "Rank@5", "Rank@10", mean_ap, "mINP")
        words = " ".join(f"{re.escape(each)}:{END}" for each in names)
        assert re.fullmatch(f"{prefix}95 % of 31 identities: {words}", line)
        ends = found.pop("intervals")
        about = ends.pop("confidence"), ends.pop("draws"), ends.pop("identities")
        assert about == (0.95, 200, 31)
        assert ends.keys() == found.keys() - {"ap", "protocol"}
        assert all(low < found[name] < high for name, (low, high) in ends.items())


def test_the_draws_are_those_of_python_and_10_000_unless_told(result, published, capsys):
    evaluate.main(["--result", result, "--bootstrap", "--ranks", "1"])
    line = capsys.readouterr().out.splitlines()[1]
    low, high = reid.confidence_intervals(reid.evaluate(*published[:2]), draws=10_000)["mAP"]
    assert f" mAP:[{low:.4f}, {high:.4f}] " in line


@pytest.mark.parametrize("flags", [["--single_shot"], ["--gap", "1"]])
def test_other_protocols_have_intervals_as_well(flags, capsys, here):
    query, gallery = random_sets()
    for start, images in ((0, query), (500, gallery)):
        images.labels = np.abs(images.labels)
        images.paths = [
            f"{label:04d}_c1s1_{start + index % 7:06d}_{index:02d}.jpg"
            for index, label in enumerate(images.labels.tolist())
        ]
    save_result("pytorch_result.mat", query, gallery)
    evaluate.main([*flags, "--bootstrap", "100"])
    measured, ends = capsys.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(rf".*95 % of \d identities: Rank@1:{END} .*m(AP|RR|INP):{END}", ends)
    assert ("MRR" in ends) == ("MRR" in measured)


def test_the_ends_of_intervals_are_rows_of_a_table(result, capsys):
    evaluate.main(["--result", result, "--bootstrap", "100", "--csv", "--ranks", "1"])
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    names = [f"{kind}{end}" for kind in ("single", "multi") for end in (", 95 % from", ", 95 % to")]
    assert [row[0] for row in rows] == ["run", "single", "multi", *names]
    figures, low, high = (np.array(rows[place][1:], float) for place in (1, 3, 4))
    assert (low < figures).all()
    assert (figures < high).all()


def test_a_single_identity_has_figures_and_no_interval(published, capsys, here):
    query, gallery, *_ = published
    save_result("pytorch_result.mat", query.select(query.labels == query.labels[0]), gallery)
    evaluate.main(["--bootstrap", "--json", "found.json"])
    out, err = capsys.readouterr()
    assert out.count("mAP:") == 1
    assert "No confidence interval: expected queries of two" in err
    assert "intervals" not in json.loads((here / "found.json").read_text())["single"]


def test_too_few_draws_are_refused(result, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--result", result, "--bootstrap", "5"])
    assert "--bootstrap: 5: expected a number from 100 to 1000000" in capsys.readouterr().err


def test_rankings_of_each_camera_are_re_ranked_once(result, monkeypatch, capsys):
    once, calls = reid.rescorer, []

    def counting(config):
        rescore = once(config)

        def counted(*images):
            calls.append(images)
            return rescore(*images)

        return counted

    monkeypatch.setattr(reid, "rescorer", counting)
    evaluate_rerank.main(["--result", result, "--by", "cameras"])
    assert "camera" in capsys.readouterr().out
    assert len(calls) == 1
