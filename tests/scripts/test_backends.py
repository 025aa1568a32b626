"""Every script that draws runs where MPLBACKEND names what matplotlib does not know.

A notebook's `!python train.py` is such a place. matplotlib reads the variable once, when it is
imported: one process without it runs all of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support import walks
from tests.scripts.test_label_errors import draw
from tests.support import ROOT
from tests.support.ranked_people import lay_out
from tests.test_architecture import imports, sources

RUN_ALL = """
import json, sys
from tests.support.scripts import module_of
for name, words in json.load(sys.stdin):
    print(name, file=sys.stderr)
    try:
        module_of(name).main(words)
    except SystemExit as end:
        if end.code:
            raise
"""
NETWORK = "--backbone test_resnet --weights none --height 32 --width 16 --gpu_ids -1"
TRAINING = f"{NETWORK} --data_dir people --train_all --batchsize 8 --total_epoch 1"
COMMANDS = {
    "train": [f"{TRAINING} --name trained"],
    "adapt": [f"{NETWORK} --data_dir people/train_all --name adapted "
              "--batchsize 8 --steps 2 --total_epoch 1 --k1 4"],
    "demo": ["--result result.mat --query_index 0"],
    "figures": [
        "curves --name trained", "cmc result.mat", "histogram --result result.mat",
        "map --result result.mat --identities 4 --method pca",
    ],
    "heatmap": [f"{NETWORK} people/train_all/0001/0001_c1_0.png"],
    "augmentations": ["--data_dir people --people 2"],
    "threshold": ["--result result.mat"],
    "compare_networks": ["--networks trained --test_dirs pytorch --gpu_ids -1 --save networks.png"],
    "report": ["--backbone x --result result.mat --no_images --no_rerank"],
    "explore": ["--result result.mat --save look.html"],
    "label_errors": [f"{NETWORK} --data_dir people --least 0 --shown 2"],
    "search": [
        f"index people/train_all --index people.index {NETWORK}",
        "query people/train_all/0001/0001_c1_0.png "
        "--index people.index --save found.png --gpu_ids -1",
        "people --index people.index --radius 0.9 --min_samples 2 --sheet sheet.png",
        "index --tracks tracks.txt --frames frames --camera hall --fps 10 --index tracks.index "
        f"{NETWORK}",
    ],
    "people": [f"frames --tracks tracks.txt --fps 10 --threshold 0.5 --save shop {NETWORK}"],
    "across": ["--index tracks.index --threshold 0.5 --save linked --sheet lanes.png"],
}  # fmt: skip
PICTURES = [
    "model/trained/train.jpg", "model/adapted/train.jpg",
    "model/adapted/clusters.jpg", "show.png", "curves.png", "cmc.png", "histogram.png",
    "map.png", "heatmap.png", "augmentations.jpg", "threshold.png", "networks.png",
    "report.html", "look.html", "label_errors.png", "found.png", "sheet.png",
    "lanes.png", "shop/people.png",
]  # fmt: skip


def test_every_script_that_draws_is_listed_here():
    modules = sources(ROOT)
    files = [*ROOT.glob("*.py"), *(ROOT / "tools").glob("*.py")]
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in files}
    drawing = {
        name
        for name, source in scripts.items()
        if any(".show." in each for each in imports(source, modules))
    }
    assert drawing | {"train", "adapt"} == COMMANDS.keys()


def test_only_the_package_show_imports_matplotlib_and_nothing_imports_its_windows():
    for name, source in sources(ROOT).items():
        assert "pyplot" not in source, name
        assert name.startswith("person_reid.show.") or "import matplotlib" not in source, name


@pytest.mark.slow
def test_every_script_draws_whatever_backend_and_style_a_user_has(tmp_path):
    lay_out(tmp_path)
    draw(tmp_path / "people")
    walks.write_frames(tmp_path / "frames")
    walks.write_tracks(tmp_path / "tracks.txt")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "webagg",
    }
    runs = [(name, line.split()) for name, lines in COMMANDS.items() for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(runs), env=environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not drawn" not in done.stderr
    assert [name for name in PICTURES if not Path(tmp_path, name).is_file()] == []
