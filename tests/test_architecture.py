"""The architecture: imports point down, form no circle, and modules of names hold no code."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest

from person_reid.console import main
from tests.support import ROOT

# From the ground up. A package may import those below it and itself, and the package its version
# alone.
FLOORS = [
    ["person_reid"],
    ["errors", "text"],
    ["files", "page_files", "progress", "arrays", "registration"],
    ["config", "fetching"],
    ["device"],
    ["versions", "distributed", "data", "models", "losses", "synthetic"],
    ["run_folder", "retrieval", "fused"],
    ["show"],
    ["deploy"],
    ["training", "video"],
    ["gallery"],
    ["serve"],
    ["console"],
    ["__main__"],
]
FLOOR = {package: number for number, packages in enumerate(FLOORS) for package in packages}
HANDED_ON = [ROOT / "losses" / "__init__.py"]  # names of the published code


@cache
def sources(folder):
    """{module: source} of every module of the package in a folder."""
    files = (folder / "person_reid").rglob("*.py")
    return {
        ".".join(file.relative_to(folder).with_suffix("").parts): file.read_text(encoding="utf-8")
        for file in files
    }


def imports(source, modules):
    """The modules of the package that a source imports."""
    return {module_of(name, modules) for name in imported(source)}


@cache
def imported(source):
    """The names of the package that a source imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name for name in names if name.split(".")[0] == "person_reid"}


def module_of(name, modules):
    """`person_reid.data.images.bank` for `person_reid.data.images.bank.load_bank`."""
    while name not in modules and f"{name}.__init__" not in modules:
        name = name.rpartition(".")[0]
    return name if name in modules else f"{name}.__init__"


def package(module):
    return {"person_reid.__init__": "person_reid"}.get(module) or module.split(".")[1]


def faults(modules):
    """What is wrong with the imports of {module: source}, a line each."""
    below = {
        name: imports(source, modules) - {name}
        for name, source in modules.items()
        if package(name) != "person_reid"
    }
    upwards = [
        f"{name} imports {other}"
        for name, others in below.items()
        for other in others
        if package(name) != package(other) and FLOOR[package(name)] <= FLOOR[package(other)]
    ]
    return upwards + [f"circle: {' → '.join(circle)}" for circle in circles(below)]


def circles(below):
    """The first circle found from each module that is in one."""
    done: set[str] = set()
    found = []

    def visit(name, path):
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(below.get(name, ())):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(below):
        visit(name, [])
    return found


def test_every_package_has_a_level():
    assert {package(module) for module in sources(ROOT)} == set(FLOOR)


def test_no_arrow_points_up_and_no_circle_closes():
    assert faults(sources(ROOT)) == []


def test_what_is_no_test_imports_nothing_of_the_tests():
    files = [*ROOT.glob("*.py"), *ROOT.glob("tools/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    pattern = re.compile(r"^ *(?:from|import) tests\b", re.M)
    assert files
    assert [file for file in files if pattern.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        (
            "person_reid.losses.base",
            "from person_reid.training import step",
            "imports person_reid.training.step",
        ),
        (
            "person_reid.deploy.load",
            "def f():\n    import person_reid.console.options",
            "imports person_reid.console.options",
        ),
        (
            "person_reid.data.prepare",
            "from person_reid.models.weights import load_weights",
            "imports person_reid.models.weights",
        ),
        (
            "person_reid.files",
            "from person_reid.versions import versions",
            "imports person_reid.versions",
        ),
        (
            "person_reid.losses.base",
            "from person_reid.losses.triplet import TripletLoss",
            "circle: ",
        ),
    ],
)
def test_an_arrow_up_or_a_circle_is_noticed(module, line, fault):
    modules = sources(ROOT)
    modules = {**modules, module: f"{modules[module]}\n{line}\n"}
    assert any(fault in found for found in faults(modules))


@pytest.mark.parametrize("path", HANDED_ON, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_published_losses_are_only_handed_on(path):
    """A docstring, imports, the names that are handed on, and a call."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign | ast.If), (
            ast.unparse(node)
        )
        if isinstance(node, ast.Assign):
            assert ast.unparse(node.targets[0]) == "__all__"
        if isinstance(node, ast.If):  # run_script ends a mistake of the user's in one line
            assert ast.unparse(node) == "if __name__ == '__main__':\n    run_script(main)"
        if isinstance(node, ast.Expr):
            constant, call = isinstance(node.value, ast.Constant), isinstance(node.value, ast.Call)
            assert constant or (call and path.parent.name == "tools"), ast.unparse(node)


@pytest.mark.parametrize("name", sorted({*main.SCRIPTS} - {"model"}))  # it imports PyTorch last
def test_a_script_that_is_run_does_what_it_says(name):
    """Tests call main() in their own process."""
    source = (ROOT / main.SCRIPTS[name] / f"{name}.py").read_text(encoding="utf-8")
    statements = [ast.unparse(node) for node in ast.parse(source).body]
    assert "if __name__ == '__main__':\n    run_script(main)" in statements
    if main.SCRIPTS[name] == "tools":  # its own folder is on the path, and not the package's
        assert "sys.path.insert(0, str(Path(__file__).resolve().parent.parent))" in statements


def test_the_package_and_the_root_leave_the_path_alone():
    """Only the command person-reid, which runs a script, and a plugin add their folder."""
    files = {*(ROOT / "person_reid").rglob("*.py"), *ROOT.glob("*.py")} - {
        ROOT / "person_reid" / "console" / "main.py",
        ROOT / "person_reid" / "registration.py",
    }
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert "sys.path" not in {
            ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        }, file


def test_only_the_console_uses_argparse():
    """Nothing below the console parses or prints.

    weight_files.py names the class of a namespace that checkpoints hold.
    """
    files = [
        file
        for file in (ROOT / "person_reid").rglob("*.py")
        if "console" not in {*file.relative_to(ROOT).parts}
    ]
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert "print" not in calls, file
        assert not any(call.endswith("parse_args") for call in calls), file
        assert file.name == "weight_files.py" or "argparse" not in file.read_text(
            encoding="utf-8"
        ), file


def test_commands_without_a_network_start_without_torch():
    """Its import takes seconds."""
    commands = ["evaluate", "evaluate_rerank", "explore", "prepare", "threshold"]
    modules = [
        name if main.SCRIPTS[name] == "." else f"{main.SCRIPTS[name]}.{name}" for name in commands
    ]
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    assert "torch" not in sys.modules, module
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_json_is_read_by_one_function():
    """parse_json raises no RecursionError for nested brackets, which json.loads does."""
    files = [
        file
        for file in (ROOT / "person_reid").rglob("*.py")
        if re.search(r"\bjson\.loads?\(", file.read_text())
    ]
    assert [file.name for file in files] == ["text.py"]


def test_a_training_imports_what_its_flags_ask_for():
    """A ResNet is torchvision's.

    timm, retrieval and deploy wait for --eval_every, --teacher and tools/adapt.py.
    """
    code = """
import sys, train
import person_reid as reid
reid.TrainingImages, reid.TrainingStep, reid.open_run, reid.load_state
reid.create_model("resnet18", 4)
packages = (f"person_reid.{name}" for name in (
    "deploy", "retrieval", "training.adaptation"))
sys.exit(", ".join(name for name in ("timm", *packages) if name in sys.modules) or 0)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
