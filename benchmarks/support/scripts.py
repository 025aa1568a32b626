"""Import the scripts as modules."""

import importlib
from types import ModuleType

from person_reid.console.main import SCRIPTS


def module_of(script: str) -> ModuleType:
    """Return the module of a script."""
    folder = SCRIPTS[script]
    return importlib.import_module(script if folder == "." else f"{folder}.{script}")
