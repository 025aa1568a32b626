"""Several data sets and every augmentation, from the flags of train.py to the trained network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import train
from person_reid.data.summary import remark_twins
from tests.support import runs
from tests.support.flags import SMALLEST

SMALL = [*SMALLEST, "--batchsize", "8"]
AUGMENTED = [
    "--autoaugment_p",
    "1",
    "--cutout_p",
    "0.5",
    "--lgt_p",
    "0.5",
    "--grayscale_erasing_p",
    "0.5",
]
AUGMENTED += ["--translation_p", "0.5", "--erasing_p", "0.5", "--color_jitter"]


@pytest.fixture
def roots(here):
    """Two data sets of three and four people with the same numbers.

    The first has a person in common with its val.
    """
    random = np.random.default_rng(0)
    folders = {"first/train": 3, "first/val": 1, "second/train_all": 4}
    for folder, people in folders.items():
        for person in range(1, people + 1):
            for camera in range(1, 5):
                path = here / folder / f"{person:04}" / f"{person:04}_c{camera}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(256, size=(32, 16, 3), dtype=np.uint8)).save(path)
    return ["--data_dir", "first", "--train_with", "second"]


@pytest.mark.parametrize("sampler", ["shuffle", "pk_camera"])
def test_a_network_learns_the_people_of_both(roots, sampler, capsys):
    drawn = ["--sampler", sampler, *(["--instances", "2"] if sampler != "shuffle" else [])]
    train.main([*roots, *SMALL, *AUGMENTED, "--total", "1", *drawn, "--name", "a"])
    assert "28 images of 7 identities" in capsys.readouterr().out
    assert yaml.safe_load(Path("model/a/opts.yaml").read_text())["nclasses"] == 7
    (record,) = runs.log("a")
    assert np.isfinite(record["loss"])
    assert np.isfinite(record["val_loss"])
    weights = runs.weights("a")
    assert any(value.shape[:1] == (7,) for value in weights.values())


def test_a_dry_run_counts_the_people_of_both(roots, capsys):
    train.main([*roots, *SMALL, "--dry_run"])
    assert "7 identities" in capsys.readouterr().out


def test_people_whom_two_data_sets_share_are_named(here, caplog):
    splits: list[Any] = []
    for day, people in (("monday", "abc"), ("tuesday", "bcd")):
        splits.append((here / day / "train_all", None))
        lines = [f"identity,{number},{name}" for number, name in enumerate(people, 1)]
        (here / day).mkdir()
        (here / day / "names.csv").write_text("\n".join(["kind,number,name", *lines]))
    for kind in ("labeled", "detected"):
        splits.append((here / kind / "train_all", None))
        (here / kind).mkdir()
        record = {"source": "..", "data_set": f"CUHK03 ({kind}, new protocol)", "files": []}
        (here / kind / ".prepared.json").write_text(json.dumps(record))
    remark_twins(splits)
    days, cuhk03 = caplog.messages
    assert "monday and " in days
    assert "count as different ones: b, c." in days
    assert cuhk03.endswith("count as different ones: all of CUHK03.")


def test_each_data_set_keeps_its_own_cache(roots, tmp_path):
    train.main([*roots, *SMALL, "--total", "1", "--name", "a"])
    caches = {
        path.relative_to(tmp_path).as_posix().split("_32x16")[0] for path in tmp_path.rglob("*.npy")
    }
    assert caches == {"first/.cache/train", "first/.cache/val", "second/.cache/train_all"}
