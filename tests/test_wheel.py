"""The package, installed as a wheel without the checkout, and editably with it.

Its files, its command, a test of a network and an Embedder.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import person_reid
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.console import main
from tests.support import ROOT

EMBEDDER = """
import numpy as np, person_reid
print(person_reid.__file__)
embed = person_reid.Embedder("osnet_x0_25", weights="none", device="cpu")
print(embed([np.zeros((64, 32, 3), np.uint8)]).shape)
"""
CHECKOUT = """
from importlib.util import find_spec
import person_reid
print(person_reid.__file__)
print([name for name in {names} if (spec := find_spec(name)) and {root!r} in str(spec.origin)])
"""

# These files travel with the package.
SCRIPTS = [Path(folder, f"{name}.py").as_posix() for name, folder in main.SCRIPTS.items()]
# tools/reproduce.py needs these.
SCRIPTS += [
    "tools/__init__.py",
    "tools/recipe_file.py",
    "tools/recipes.py",
    "tools/docs/results.py",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built from a copy, beside which nothing else lies."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "person_reid", folder / "person_reid", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "tools" / "docs").mkdir(parents=True)
    (folder / "docs").mkdir()
    texts = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "docs/datasets.md")
    for name in (*texts, *SCRIPTS):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "."], cwd=folder, check=True
    )
    return next(folder.glob("*.whl"))


def installed(folder, *words):
    """Make an environment, let pip install what `words` say, and return the folder of programs."""
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", programs / "python"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", *words], check=True)
    return programs


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """A function that runs a program of an environment with the wheel, outside of here."""
    folder = tmp_path_factory.mktemp("environment")
    programs = installed(folder, wheel)
    found = subprocess.check_output(
        [programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        text=True,
    )
    # The dependencies of the tests' environment. Its own .pth files, such as that of this checkout,
    # are not read.
    Path(found.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def run(program, *arguments, status=0):
        command = [programs / program, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"person_reid-{person_reid.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"person_reid", info}
    assert {"person_reid/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
    templates = (path for path in ROOT.glob("person_reid/show/templates/**/*") if path.is_file())
    sources = ROOT.glob("person_reid/fused/*.[ch]")
    assert {path.relative_to(ROOT).as_posix() for path in (*templates, *sources)} <= set(names)
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("person_reid/**/*.py")}
    scripts = {f"person_reid/scripts/{name}" for name in SCRIPTS}
    recipes = {
        f"person_reid/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("recipes/**/*.py")
    }
    assert modules | scripts | recipes == {name for name in names if name.endswith(".py")}
    network = f"weights/{PACKAGED_NETWORK}"
    terms = {f"{info}/licenses/person_reid/{network}/{name}" for name in ("LICENSE", "NOTICE")}
    assert terms <= set(names)
    assert f"person_reid/{network}/model.safetensors" in names
    assert wheel.stat().st_size < 7e6


def test_the_wheel_requires_what_requirements_txt_lists():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "dependencies"
    ]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert asked == [found for line in lines if (found := line.partition("#")[0].strip())]


@pytest.mark.slow  # a network is trained and tested in an environment of its own
def test_the_installed_command_prepares_tests_and_finds_its_recipes(run):
    assert "evaluate_rerank" in run("person-reid", "--help")
    people = [
        "--identities",
        "4",
        "--test_identities",
        "3",
        "--cameras",
        "2",
        "--images",
        "1",
        "--distractors",
        "2",
    ]
    prepared = run("person-reid", "prepare", "--synthetic", "--data_dir", "people", *people)
    assert "Next: person-reid train --data_dir" in prepared
    assert prepared.endswith(" --train_all --config recipes/demo.yaml\n")
    network = ["--backbone", "osnet_x0_25", "--weights", "none", "--height", "64", "--width", "32"]
    tested = run("person-reid", "test", *network, "--test_dir", "people/pytorch")
    assert "Rank@1:" in tested
    assert "person-reid demo --query_index 0" in tested
    assert "Rank@1:" in run("person-reid", "evaluate_gpu")
    recipe = ["--config", "recipes/demo.yaml", "--batchsize", "8"]
    found = run("person-reid", "train", *recipe, "--data_dir", "people/pytorch", "--dry_run")
    assert "4 identities" in found
    assert "backbone: osnet_x0_25" in found
    assert "--proxies" in run("person-reid", "adapt", "--help")
    assert "--seeds" in run("person-reid", "reproduce", "--help")
    assert "torchrun" in run("person-reid", "train_DDP", "--help")


def test_the_wheel_describes_itself_by_the_readme(wheel):
    with zipfile.ZipFile(wheel) as file:
        metadata = next(name for name in file.namelist() if name.endswith("METADATA"))
        assert (ROOT / "README.md").read_text("utf-8") in file.read(metadata).decode()


def test_the_errors_of_the_wheel_name_commands_and_pages_that_are_there(run):
    assert "person-reid test" in run("person-reid", "evaluate", "--result", "none.mat", status=1)
    said = run("person-reid", "prepare", status=1)  # finds no data set in the usual places
    assert "person-reid prepare --synthetic draws people" in said
    assert "python " not in said
    page = next(word for word in said.split() if word.endswith("datasets.md"))
    assert Path(page).is_file()


def test_the_embedder_of_the_wheel_returns_features(run):
    place, shape = run("python", "-c", EMBEDDER).splitlines()[-2:]
    assert "environment" in place
    assert shape == "(1, 512)"


def test_an_editable_installation_has_the_package_alone_on_the_import_path(tmp_path):
    programs = installed(tmp_path, "--editable", ROOT, "editables", "lazy_loader", "packaging")
    names = [path.stem for path in ROOT.glob("*.py")]
    names += [path.parent.name for path in ROOT.glob("*/__init__.py")]
    names.remove("person_reid")
    assert {"model", "losses", "utils", "tools", "test"} <= set(names)
    program = CHECKOUT.format(names=names, root=str(ROOT))
    printed = subprocess.check_output([programs / "python", "-c", program], cwd=tmp_path, text=True)
    package, others = printed.splitlines()
    assert Path(package) == ROOT / "person_reid" / "__init__.py"
    assert main.script("train") == ROOT / "train.py"  # so its command runs the checkout's
    assert others == "[]"
