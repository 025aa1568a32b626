"""One name, one meaning: what is defined twice in the repository."""

import ast
import re
from collections import defaultdict

import pytest

from tests.support import ROOT

LIBRARY = sorted((ROOT / "person_reid").rglob("*.py"))
PROGRAMS = [*ROOT.glob("*.py"), *(ROOT / "tools").rglob("*.py")]
# Each program puts the checkout on the import path before it can import anything.
OF_EVERY_PROGRAM = {"ROOT"}


def defined(source):
    """Yield the public names of a module: functions, classes, types and constants.

    Type variables mean nothing outside their module and are left out.
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            called = getattr(node.value, "func", None)
            of_types = isinstance(called, ast.Name) and called.id in {"TypeVar", "ParamSpec"}
            names = [] if of_types else [name for target in targets for name in names_in(target)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_") and name != "log")


def names_in(target):
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def places(files, wanted):
    """{name: the files that define it}, of names that more than one file defines."""
    found = defaultdict(set)
    for file in files:
        for name in filter(wanted, defined(file.read_text(encoding="utf-8"))):
            found[name].add(str(file.relative_to(ROOT)))
    return {name: sorted(where) for name, where in found.items() if len(where) > 1}


def test_every_name_of_the_library_is_defined_once():
    assert places(LIBRARY, lambda name: True) == {}


def test_every_constant_of_library_and_programs_is_defined_once():
    found = places([*LIBRARY, *PROGRAMS], str.isupper)
    assert {name: where for name, where in found.items() if name not in OF_EVERY_PROGRAM} == {}


def test_every_module_of_the_library_has_a_name_of_its_own():
    """A module of config/ is named for the script or the module whose options it declares."""
    found = defaultdict(list)
    for file in LIBRARY:
        if file.parent.name != "config" and file.stem != "__init__":
            found[file.stem].append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_scripts_take_the_names_of_the_api_from_one_place():
    """`reid.NAME`; what is not on the list of the API is imported from its module."""
    stub = (ROOT / "person_reid" / "__init__.pyi").read_text(encoding="utf-8")
    home = dict(re.findall(r"^from \.[\w.]+ import (\w+) as (\w+)$", stub, re.M))
    deep: dict[str, set[str]] = defaultdict(set)
    for file in (*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("person_reid."):
                deep[file.name] |= {alias.name for alias in node.names} & home.keys()
    # the names of the published code, which model.py and utils.py hand on
    handed_on = {"model.py", "utils.py"}
    # a configuration is imported with the others of its script
    assert {
        name: found
        for name, found in deep.items()
        if found - {"FitOptions", "OptionError"} and name not in handed_on
    } == {}


@pytest.mark.parametrize("source", ["def name(): ...", "class name: ...", "other, name = 1, 2"])
def test_a_second_definition_is_found(tmp_path, source, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text(source)
    found = places(tmp_path.rglob("*.py"), lambda name: name == "name")
    assert found == {"name": ["a/x.py", "b/x.py"]}
