"""Modules of one name, and the names of the API."""

import ast
import re
from collections import defaultdict

from tests.support import ROOT

LIBRARY = sorted((ROOT / "person_reid").rglob("*.py"))


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
    # options are declared, and a configuration is imported, with the others of their script
    of_options = {"FitOptions", "RerankOptions", "option"}
    assert {
        name: found for name, found in deep.items() if found - of_options and name not in handed_on
    } == {}
