"""tools/figures.py, tools/heatmap.py and tools/report.py as a user calls them."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import demo
from person_reid.deploy.load import load_network, network_of_run
from person_reid.errors import UserError
from person_reid.models.complexity import used_parameters
from person_reid.models.factory import build_network
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet, load_result, save_result
from person_reid.run_folder import RunFolder
from tests.show.test_page import check
from tests.support.flags import NETWORK
from tests.support.ranked_people import lay_out
from tests.support.scripts import refused
from tests.support.small_training import trained_as
from tools import figures, heatmap, report

HISTORY = [
    {"epoch": i + 1, "loss": 3.0 / (i + 1), "error": 0.9 / (i + 1), "lr": 0.1} for i in range(3)
]
SMALL = [*NETWORK, "--linear_num", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, its result file and photographs, and the file's query and gallery."""
    place = tmp_path_factory.mktemp("run")
    result, *sets = lay_out(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        options = trained_as("--name", "small", *SMALL)
        path = RunFolder("small").options_file
        path.parent.mkdir(parents=True)
        RunFolder("small").save_options({**asdict(options), "nclasses": 5})
        torch.manual_seed(0)
        torch.save(build_network(options, 5, "none").state_dict(), path.with_name("net_last.pth"))
        path.with_name("log.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in HISTORY)
        )
    result.rename(place / "pytorch_result.mat")
    return place, *sets


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder[0])
    return folder


@pytest.mark.filterwarnings("ignore:Matplotlib currently does not support Devanagari")
def test_names_of_any_alphabet_are_drawn(inside, tmp_path, capsys, caplog):
    """Fonts are those of the computer: without one, boxes stand for the letters."""
    names = Path("pytorch/names.csv")
    words = enumerate(("陈伟", "한국어", "สมชาย", "नितिन", "Анна"), 1)
    lines = ["kind,number,name", *(f"identity,{number},{word}" for number, word in words)]
    names.write_text(
        "\n".join([*lines, *(f"camera,{each},入口{each}" for each in (1, 2, 3))]), "utf-8"
    )
    try:
        image = load_result("pytorch_result.mat", paths=True)[0].paths[0]
        demo.main(["--query_index", "0-2", "--save", str(tmp_path / "show.png")])
        figures.main(["map", "--save", str(tmp_path / "map.png"), "--method", "pca"])
        heatmap.main([image, "--name", "small", "--save", str(tmp_path / "heat.png")])
    finally:
        names.unlink()
    assert {file.name for file in tmp_path.iterdir()} == {"show.png", "map.png", "heat.png"}
    assert "入口" in capsys.readouterr().out
    assert "Glyph" not in caplog.text


def test_each_figure_is_written(inside, tmp_path, capsys):
    (inside[0] / "other.mat").write_bytes((inside[0] / "pytorch_result.mat").read_bytes())
    commands = {
        "curves.pdf": ["curves", "--name", "small"],
        "cmc.svg": ["cmc", "pytorch_result.mat", "other.mat", "--ranks", "10"],
        "histogram.png": ["histogram", "--dark"],
        "map.jpg": ["map", "--identities", "4", "--method", "pca"],
    }
    for name, words in commands.items():
        figures.main([*words, "--save", str(tmp_path / name)])
        assert capsys.readouterr().out.endswith(f"{name}\n")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == commands.keys()
    assert min(sizes.values()) > 5000
    corner = np.asarray(Image.open(tmp_path / "histogram.png").convert("RGB"))[:3, :3]
    assert corner.max() < 60


def test_figures_of_nothing_are_refused(inside, tmp_path, capsys):
    for words, expected in (
        (["curves", "--name", "absent"], "no such log"),
        (["cmc", "absent.mat"], "no features there"),
        (["cmc", "--ranks", "0"], "ranks=0: expected 2 or more"),
        (["cmc", "--ranks", "1"], "ranks=1: expected 2 or more"),
        (["histogram", "--threshold", "absent.json"], "neither a number nor a file"),
    ):
        with pytest.raises(UserError, match=expected):
            figures.main([*words, "--save", str(tmp_path / "a.png")])
    with pytest.raises(SystemExit):
        figures.main(["map", "--identities", "0", "--save", str(tmp_path / "a.png")])
    assert "--identities: 0: expected a number above 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_curves_of_different_test_sets_do_not_share_a_picture(inside, tmp_path):
    _, query, gallery = inside
    half = len(gallery) // 2
    part = FeatureSet(gallery.features[:half], gallery.labels[:half], gallery.cameras[:half])
    save_result(tmp_path / "half.mat", query, part)
    with pytest.raises(
        UserError, match=r"half\.mat: its \d+ gallery images are not the \d+ of pytorch_result\.mat"
    ):
        figures.main(
            [
                "cmc",
                "pytorch_result.mat",
                str(tmp_path / "half.mat"),
                "--save",
                str(tmp_path / "cmc.png"),
            ]
        )
    assert not (tmp_path / "cmc.png").exists()


@pytest.fixture
def seeds(inside, tmp_path):
    """Results of two networks, one of them trained with two seeds."""
    _, query, gallery = inside
    rng = np.random.default_rng(0)
    for name in ("net_0", "net_1", "other"):
        noisy = [
            replace(images, features=images.features + rng.normal(size=images.features.shape))
            for images in (query, gallery)
        ]
        save_result(tmp_path / f"{name}.mat", *noisy)
    return [str(tmp_path / f"{name}.mat") for name in ("net_0", "net_1", "other")]


def test_a_table_has_the_mean_of_seeds_and_their_deviation_in_three_forms(seeds, capsys):
    values = [100 * evaluate(*load_result(path)).mAP for path in seeds]
    mean, deviation = np.mean(values[:2]), np.std(values[:2], ddof=1)
    figures.main(["table", *seeds, "--seeds"])
    head, _, net, other = capsys.readouterr().out.splitlines()
    assert head == "| run | Rank@1 | Rank@5 | Rank@10 | mAP | mINP | seeds |"
    assert net.startswith("| net | ")
    assert f"| {mean:.2f} ± {deviation:.2f} |" in net
    assert other.startswith("| other | ")
    assert f"| {values[2]:.2f} |" in other
    figures.main(["table", *seeds, "--seeds", "--csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["mAP"] for row in rows] == [f"{mean:.2f}", f"{values[2]:.2f}"]
    assert [row["mAP deviation"] for row in rows] == [f"{deviation:.2f}", ""]
    assert [row["seeds"] for row in rows] == ["2", "1"]
    figures.main(["table", *seeds, "--latex", "--labels", "a_b,c & d,e"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrr}"  # without a column of seeds
    assert lines[-1] == r"\end{tabular}"
    assert lines[4].startswith(r"a\_b & ")
    assert lines[5].startswith(r"c \& d & ")
    figures.main(["table", *seeds, "--latex", "--labels", "a_b,Net$_{0.25}$,e$f"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" & ")[0] for line in lines[4:7]] == [r"a\_b", "Net$_{0.25}$", r"e\$f"]
    labels = ["--labels", "a_b,Net$_{0.25}$,e$f"]
    figures.main(["table", *seeds, "--latex", *labels, "--ap", "step", "--ignore_cameras"])
    lines = capsys.readouterr().out.splitlines()
    assert "mAP(step)" in lines[2]
    assert lines[5].startswith("Net$_{0.25}$ (cameras ignored) & ")
    figures.main(["table", *seeds, "--ranks", "1,20", "--ap", "step"])
    head, _, net, *_ = capsys.readouterr().out.splitlines()
    assert head == "| run | Rank@1 | Rank@20 | mAP(step) | mINP |"
    step = evaluate(*load_result(seeds[0]), ap="step")
    assert f"| {100 * step.rank(20):.2f} | {100 * step.mAP:.2f} |" in net
    with pytest.raises(UserError, match="labels=a,b: expected 3, in place of: net_0, net_1"):
        figures.main(["table", *seeds, "--labels", "a,b"])


def test_seeds_that_no_name_says_are_refused(seeds, capsys):
    with pytest.raises(UserError, match=r"no two of these are seeds of one network: net_1, other"):
        figures.main(["table", *seeds[1:], "--seeds"])
    assert not capsys.readouterr().out


def test_seeds_share_a_curve_and_a_band(seeds, tmp_path, monkeypatch):
    drawn, write = [], Figure.savefig

    def remember(figure, *arguments, **settings):
        drawn.append(figure)
        write(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", remember)
    words = ["--ranks", "5", "--width", "column", "--save", str(tmp_path / "cmc.pdf")]
    figures.main(["cmc", *seeds, "--seeds", *words])
    (axes,) = drawn[0].axes
    assert len(axes.lines) == 2
    assert len(axes.collections) == 1
    assert drawn[0].get_figwidth() == 3.3
    net = next(line for line in axes.lines if line.get_label().startswith("net:"))
    curves = [evaluate(*load_result(path)).cmc[:5] for path in seeds[:2]]
    np.testing.assert_allclose(net.get_ydata(), np.mean(curves, axis=0))
    assert " ± " in net.get_label()


def test_figures_of_one_camera_need_a_flag(inside, tmp_path):
    _, query, gallery = inside
    ones = [replace(images, cameras=np.ones_like(images.cameras)) for images in (query, gallery)]
    save_result(tmp_path / "one.mat", *ones)
    for words in (
        ["cmc", str(tmp_path / "one.mat")],
        ["histogram", "--result", str(tmp_path / "one.mat")],
    ):
        picture = tmp_path / f"{words[0]}.png"
        with pytest.raises(UserError, match=r"ignore_cameras of .* figures\.py"):
            figures.main([*words, "--save", str(picture)])
        figures.main([*words, "--save", str(picture), "--ignore_cameras"])
        assert picture.is_file()


def test_heat_maps_show_a_ranking_and_any_images(inside, tmp_path, drawn_sizes):
    _, query, gallery = inside
    heatmap.main(
        [
            "--name",
            "small",
            "--query_index",
            "3",
            "--top",
            "4",
            "--save",
            str(tmp_path / "ranking.png"),
        ]
    )
    heatmap.main([*SMALL, query.paths[0], gallery.paths[0], "--save", str(tmp_path / "two.pdf")])
    published = [
        "--name",
        "small",
        "--data_dir",
        str(Path(query.paths[0]).parents[2]),
        "--batchsize",
        "3",
    ]
    heatmap.main(
        [*published, "--query_index", "0-2", "--top", "4", "--save", str(tmp_path / "three.png")]
    )
    assert drawn_sizes == [10, 4, 30]
    assert (tmp_path / "ranking.png").is_file()
    assert (tmp_path / "two.pdf").is_file()
    with pytest.raises(UserError, match="query_index=99: expected 0 to 11"):
        heatmap.main(["--name", "small", "--query_index", "99"])
    with pytest.raises(UserError, match=r"absent\.jpg"):
        heatmap.main([*SMALL, "absent.jpg"])


def test_heat_maps_for_a_paper_are_as_wide_as_it_in_words_of_ones_own(inside, tmp_path):
    words = ["--name", "small", "--top", "3", "--paper_width", "column", "--labels", "a man,heat"]
    heatmap.main([*words, "--save", str(tmp_path / "heat.svg")])
    text = (tmp_path / "heat.svg").read_text()
    assert f'width="{72 * 3.3:.1f}pt"' in text
    assert "a man" in text
    assert "Query" not in text
    with pytest.raises(UserError, match="labels=a: expected 2, in place of: Query 0: "):
        heatmap.main(["--name", "small", "--labels", "a", "--save", str(tmp_path / "a.png")])


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["compare_networks", "--networks", "run", "--test_dirs", "x"], "--save"),
        (["search", "query", "a.jpg", "--index", "people.index"], "--save"),
        (["search", "people", "--index", "people.index"], "--sheet"),
    ],
)
def test_the_look_of_a_picture_that_is_not_drawn_is_refused(words, without, tmp_path):
    output = refused(*words, "--width", "page", "--dark", cwd=tmp_path)
    assert f"width, dark would be ignored without {without[2:]}" in output


@pytest.fixture
def drawn_sizes(monkeypatch):
    """How many photographs each sheet has that was drawn."""
    from person_reid.show import sheet

    counts, draw = [], sheet.draw_sheet

    def count(rows, save, look):
        counts.append(sum(len(row.tiles) for row in rows))
        draw(rows, save, look)

    monkeypatch.setattr(sheet, "draw_sheet", count)
    return counts


def test_the_report_holds_all_results_and_needs_no_other_file(inside, capsys):
    place, query, gallery = inside
    report.main(["--name", "small", "--queries", "2", "--worst", "1", "--k1", "5", "--k2", "2"])
    path = place / "model" / "small" / "report.html"
    assert str(path.relative_to(place)) in capsys.readouterr().out
    checked = check(path.read_text(encoding="utf-8"))
    text = "".join(checked.text)
    metrics = evaluate(query, gallery)
    assert all(
        f"{100 * value:.2f} %" in text for value in (metrics.rank(1), metrics.mAP, metrics.mINP)
    )
    for title in (
        "Metrics",
        "Training",
        "Same person or not",
        "Map of the features",
        "Rankings",
        "The worst rankings",
    ):
        assert f"{title}\n" in text or title in checked.text
    assert "re-ranked" in text
    assert "3 epochs" in text
    assert "test_resnet" in text
    network = load_network(network_of_run("small"))
    about = ("test_resnet", "64 × 32", f"{used_parameters(network):,}", "epoch 3")
    assert all(each in text for each in about)
    worst = int(metrics.average_precision.argmin())
    assert f"Query {worst}: " in text
    assert "Query 0: " in text
    photographs = sum(source.startswith("data:image/jpeg") for source in checked.sources)
    # Each ranking: the query and ten; each of them as it is, and with its heat.
    assert photographs == 3 * 11 * 2
    assert sum(source.startswith("data:image/svg") for source in checked.sources) == 4 * 2


def test_the_report_does_without_a_run_photographs_and_network(inside, tmp_path):
    bare = tmp_path / "bare.html"
    report.main([*SMALL[:4], "--no_images", "--no_rerank", "--save", str(bare)])
    checked = check(bare.read_text(encoding="utf-8"))
    text = "".join(checked.text)
    assert not any("jpeg" in source for source in checked.sources)
    assert "Training" not in text
    assert "re-ranked" not in text
    assert "Metrics" in text
    plain = tmp_path / "plain.html"
    flags = ["--backbone", "x", "--no_heatmaps", "--no_rerank", "--queries", "0", "--worst", "1"]
    report.main([*flags, "--save", str(plain)])
    assert (
        sum("jpeg" in source for source in check(plain.read_text(encoding="utf-8")).sources) == 11
    )


def test_a_result_of_another_network_is_refused(inside, tmp_path):
    _, query, gallery = inside
    save_result("of_other.mat", query, gallery, "other net_last")
    for command, save in ((report, "a.html"), (heatmap, "a.png")):
        with pytest.raises(
            UserError,
            match=r"of_other\.mat: holds the features of 'other net_last', not of 'small net_last'",
        ):
            command.main(
                ["--name", "small", "--result", "of_other.mat", "--save", str(tmp_path / save)]
            )
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_made_leaves_the_old_one(inside, tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(UserError, match="no run of that name"):
        report.main(["--name", "absent", "--save", str(tmp_path / "report.html")])
    with pytest.raises(UserError, match="no features there"):
        report.main(
            ["--name", "small", "--result", "absent.mat", "--save", str(tmp_path / "report.html")]
        )
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.mark.parametrize("words", [["figures", "cmc"], ["demo"], ["heatmap"], ["augmentations"]])
def test_a_picture_of_an_unknown_kind_is_refused_before_the_work(words, tmp_path):
    output = refused(*words, "--save", "show.txt", cwd=tmp_path)
    assert "show.txt: expected the name of a picture, which ends in .png" in output


def test_flags_of_a_ranking_are_refused_beside_images(tmp_path):
    for flag, value in (("--top", "2"), ("--test_dir", "people")):
        assert f"{flag[2:]} would be ignored beside images" in refused(
            "heatmap", "a.jpg", flag, value, cwd=tmp_path
        )


def test_flags_of_what_a_report_leaves_out_are_refused(tmp_path):
    output = refused("report", "--no_rerank", "--k1", "5", "--memory_gb", "1", cwd=tmp_path)
    assert "k1, memory_gb would be ignored beside no_rerank" in output
    for flag in ("--queries", "--worst", "--test_dir"):
        output = refused("report", "--no_images", flag, "1", cwd=tmp_path)
        assert f"{flag[2:]} would be ignored beside no_images" in output
    for without in ("--no_images", "--no_heatmaps"):
        output = refused("report", without, "--height", "64", "--width", "32", cwd=tmp_path)
        assert (
            f"height, width would be ignored beside {without[2:]}: heat maps alone need the size"
            in output
        )
