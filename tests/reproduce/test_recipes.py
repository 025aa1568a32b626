"""Every recipe: it says what was published, resolves to the published command, and trains.

The networks of the recipes are built as they are, without their weights (`--dry_run`). What is
trained is small: the recipe's flags with a light network in place of a heavy one, on small
pictures, for two epochs.
"""

import json
import math
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import train
from benchmarks.support.people import draw_people
from person_reid.config import TrainConfig
from person_reid.config.network import NETWORK_FLAGS, NetworkOptions
from person_reid.config.option import changed
from person_reid.errors import UserError
from person_reid.run_folder import read_yaml
from person_reid.training.step import train_one_epoch
from tests.support import ROOT
from tests.support.beginnings import begun
from tests.support.small_training import trained_as
from tools.recipe_file import RECIPE_KEY, check_recipe
from tools.recipes import read_recipe

PATHS = sorted((ROOT / "recipes").glob("*/*.yaml"))


def of_paths(paths):
    return pytest.mark.parametrize(
        "path", paths, ids=[f"{path.parent.name}/{path.stem}" for path in paths]
    )


RECIPES = of_paths(PATHS)
OF_COMMANDS = of_paths(
    [
        path
        for path in PATHS
        if re.search(r"command:[\s>-]+python train\.py", path.read_text("utf-8"))
    ]
)
LIGHT = {"osnet_x0_25", "lightmbn"}
# Recipes of a later README.
LATER = {"market/resnet50_usam", "market/resnet50_ibn_usam", "market/dinov3_tricks_circle"}


def table_rows():
    """[train.py command, Rank@1, mAP] of each row of the published tables."""
    text = (ROOT / "tests" / "fixtures" / "published_tables.md").read_text(encoding="utf-8")
    rows = re.findall(r"\|\s*([\d.]+)%\s*\|\s*([\d.]+)%\s*\|\s*`(python train\.py[^;`]*)", text)
    return {" ".join(command.split()): (float(rank1), float(mAP)) for rank1, mAP, command in rows}


@RECIPES
def test_a_recipe_describes_a_network_that_can_be_built(path, here, capsys, built):
    described = asdict(trained_as("--config", str(path)))
    network = tuple(described[name] for name in NetworkOptions.declared())
    if network not in built:
        train.main(["--config", str(path), "--dry_run"])
        assert "M parameters" in capsys.readouterr().out
        built.add(network)
    recipe = read_recipe(path)
    assert recipe.source
    assert recipe.published
    for figures in recipe.published.values():
        assert figures.get("mINP", 0) <= figures.get("mAP", 100) <= figures.get("rank1", 100)


@OF_COMMANDS
def test_a_recipe_resolves_to_its_published_command(path):
    command = shlex.split(read_recipe(path).command)[2:]
    published, recipe = trained_as(*command), trained_as("--config", str(path))
    assert changed(TrainConfig, asdict(published), asdict(recipe)) == []


def test_every_row_of_the_published_tables_has_its_recipe():
    recipes = {path: read_recipe(path) for path in PATHS}
    ours = {
        " ".join(recipe.command.split()): (
            recipe.published["single"]["rank1"],
            recipe.published["single"]["mAP"],
        )
        for recipe in recipes.values()
        if recipe.command.startswith("python train.py") and recipe.name not in LATER
    }
    assert len(table_rows()) == 32
    assert ours == table_rows()


@pytest.fixture(scope="module")
def built():
    """The networks of the recipes so far; many recipes differ in the training alone."""
    return set()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp("recipes") / "people", 8)


@pytest.fixture(scope="module")
def trained():
    """{what was trained: losses}.

    Many recipes are the same once their networks and images are small.
    """
    return {}


def small(path, people):
    """The flags of a recipe with a light network, small images and few epochs."""
    left_out = {RECIPE_KEY, *NETWORK_FLAGS, "drop_path", "compile", "train_with", "resize_schedule"}
    flags = {name: value for name, value in read_yaml(path).items() if name not in left_out}
    if flags.get("backbone") not in LIGHT:
        flags["backbone"] = "resnet18" if flags.get("usam") else "test_resnet"
    # CPUs compute these slowly.
    tall, slow = flags.get("PCB") or flags["backbone"] == "lightmbn", flags.get("fp16")
    size = {"height": 96 if tall else 32 if slow else 64, "width": 16 if slow else 32}
    if "teacher" in flags:
        flags["teacher"] = "test_resnet=none --height 32 --width 16"
    return {
        **flags, **size, "weights": "none", "batchsize": 16, "lr": 0.001, "backbone_lr": 0.001,
        "total_epoch": 2, "warm_epoch": min(1, flags.get("warm_epoch", 0)),
        "freeze_epochs": min(1, flags.get("freeze_epochs", 0)), "aiter": 2,
        "DG_dir": str(people / "gallery"), "data_dir": str(people), "gpu_ids": "-1",
    }  # fmt: skip


@RECIPES
def test_a_recipe_trains(path, people, trained, here):
    flags = small(path, people)
    what = json.dumps(flags, sort_keys=True)
    if what not in trained:
        (here / "small.yaml").write_text(yaml.safe_dump(flags))
        step = begun(["--config", "small.yaml"]).training
        epochs = range(1 if flags["backbone"] == "lightmbn" else 2)
        trained[what] = [train_one_epoch(step, step.images.epoch(epoch)) for epoch in epochs]
    assert all(map(math.isfinite, trained[what]))


GOOD = {
    "title": "a network", "source": "a paper", "dataset": "market", "average_precision": "step",
    "published": {"single": {"rank1": 90, "mAP": 70.5}},
}  # fmt: skip


def test_a_complete_entry_is_accepted():
    check_recipe(GOOD, Path("recipe.yaml"))
    check_recipe(
        {**GOOD, "published": {"re-ranked": {}}, "note": "own", "test": "--no_flip"},
        Path("recipe.yaml"),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "unknown entry 'titel'. Did you mean 'title'"),
        ({"average_precision": "triangle"}, "'triangle': expected trapezoidal or step"),
        (
            {"dataset": "markt"},
            "'markt': expected a name that prepare.py --dataset has. Did you mean 'market'",
        ),
        ({"title": 5}, "title: expected text, found 5"),
        ({"published": {}}, "published: expected rankings and figures"),
        ({"published": {"single": 90}}, "published: expected rankings and figures"),
        (
            {"published": {"single": {"mAP": 80}, "multi": 90}},
            "published: expected rankings and figures",
        ),
        ({"published": {"double": {}}}, "'double': expected one of single, multi, re-ranked"),
        ({"published": {"single": {"map": 80}}}, "'map': expected one of rank1"),
        ({"published": {"single": {"mAP": 0.8}}}, "mAP: 0.8: expected a percentage"),
        ({"published": {"single": {"mAP": 101}}}, "mAP: 101: expected a percentage"),
        ({"published": {"single": {"mAP": True}}}, "mAP: True: expected a percentage"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(change, message, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"lr": 0.1, RECIPE_KEY: {**GOOD, **change}}))
    with pytest.raises(UserError, match=rf"recipe\.yaml: recipe: .*{message}"):
        read_recipe(path)


def test_entries_that_must_be_there_are_named(tmp_path):
    lacking = {name: GOOD[name] for name in GOOD if name not in ("source", "average_precision")}
    with pytest.raises(UserError, match="lacks source, average_precision"):
        check_recipe(lacking, tmp_path)
    with pytest.raises(UserError, match="expected 'name: value' lines, found str"):
        check_recipe("a network", tmp_path)


@pytest.mark.parametrize(("entry", "flags"), [("test", "--no_flp"), ("rerank", "--method knn")])
def test_flags_of_other_scripts_are_checked_before_anything_runs(entry, flags, tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({RECIPE_KEY: {**GOOD, entry: flags}}))
    with pytest.raises(UserError, match=f"recipe: {entry}: '{flags}' does not fit"):
        read_recipe(path)


def test_an_options_file_without_the_entry_is_no_recipe(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("lr: 0.1")
    assert trained_as("--config", str(path)).lr == 0.1
    with pytest.raises(UserError, match="not a recipe: it has no entry 'recipe'"):
        read_recipe(path)
