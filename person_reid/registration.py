"""Tables of names that a user's file can extend, and the plugins that extend them.

    reid.register_schedule("halving", lambda update, options: 0.5**update.epoch)

docs/extending.md shows every kind. A plugin is such a file, or a module with such lines. Code runs
only if the command line names it, or if it is installed: a file that merely mentions a
plugin, such as the opts.yaml of a run, is rejected, and the message names the flag that loads it.
"""

import logging
import re
import sys
from collections.abc import Container, Iterable, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from person_reid.errors import UserError, first_line
from person_reid.text import did_you_mean, quoted

log = logging.getLogger(__name__)
GROUP = "person_reid.plugins"  # the group of entry points in an installed package
# MODULE:CLASS, which --backbone takes; timm's networks of a hub have a slash or a hyphen
OWN_CLASS = re.compile(r"(?P<plugin>[\w./\\:]+):(?P<name>[A-Za-z_]\w*)")
NAME = re.compile(r"[A-Za-z]\w*(?:[.-]\w+)*")
PLUGINS: dict[str, ModuleType] = {}  # loaded by name
Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """The entries of one kind, by name; `register` adds entries.

    kind: what the entries are, for messages. entries: the suite's own. names: the list of their
    names in person_reid/config/, from which a parser is made; it grows with the table.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, Entry] | None = None, names: list[str] | None = None
    ) -> None:
        super().__init__(entries or {})
        self.kind, self.names = kind, names

    def register(self, name: str, entry: Entry) -> None:
        """Add an entry. Raises UserError for a name that is taken, or that no flag could spell."""
        if not NAME.fullmatch(name):
            raise UserError(f"{self.kind} {name!r}: expected a name such as my_{self.kind}_2.")
        if name in self:
            raise UserError(f"There is a {self.kind} {name!r} already. Choose another name.")
        self[name] = entry
        if self.names is not None:
            self.names.append(name)

    def named(self, name: str) -> Entry:
        """Return an entry. Raises UserError, listing the existing names, for an unknown name."""
        if name not in self:
            raise UserError(
                f"no {self.kind} {name!r}.{did_you_mean(name, self)} There are: {', '.join(self)}. "
                "A plugin registers others."
            )
        return self[name]


def load_plugin(name: str) -> None:
    """Run a custom file or import a module, once, so that it registers what it adds.

    name: "my_file.py", or the name of a module that Python finds. The file can import modules
    beside it. Raises UserError if there is no such file or module, or if a module from another file
    already has the name.
    """
    file, module = file_of(name), module_of(name)
    if module in sys.modules:
        known = getattr(sys.modules[module], "__file__", None)
        if file and not (known and Path(known).exists() and file.samefile(known)):
            raise UserError(f"plugin={name}: Python has another module {module}. Rename the file.")
        PLUGINS[module] = sys.modules[module]
        return
    if file and str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    spec = spec_from_file_location(module, file) if file else _found(name)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin={name}: no such file, and no module of that name.")
    sys.modules[module] = plugin = module_from_spec(spec)
    try:
        spec.loader.exec_module(plugin)
    except BaseException:
        del sys.modules[module]
        raise
    PLUGINS[module] = plugin


@cache
def load_installed() -> None:
    """Import the plugins of installed packages once: their entry points in the group GROUP."""
    lists = (
        file for folder in sys.path for file in Path(folder).glob("*.dist-info/entry_points.txt")
    )
    if any(f"[{GROUP}]" in file.read_text(encoding="utf-8", errors="replace") for file in lists):
        from importlib.metadata import entry_points  # loads slowly

        for point in entry_points(group=GROUP):
            try:
                point.load()
            except Exception as error:  # from a package that this command may not need
                log.warning("the plugin %s is left out: %s", point.value, first_line(error))


def check_loaded(
    names: Iterable[str],
    where: object,
    files: Any = None,
    loaded: Container[str] = sys.modules.keys(),
) -> None:
    """Raise UserError if a plugin is mentioned but not loaded.

    names: the plugins, as given. where: what mentions them. files: {name: its file}, as noted
    there. loaded: the modules that count as loaded; by default, all imported modules.
    """
    files = files if isinstance(files, Mapping) else {}
    absent = [name for name in names if module_of(name) not in loaded]
    if absent:
        places = [
            str(files[name]) if Path(str(files.get(name, ""))).is_file() else name
            for name in absent
        ]
        flag = quoted(",".join(places))
        calls = "; ".join(f"load_plugin({place!r})" for place in places)
        raise UserError(
            f"{where}: needs code of its own, {', '.join(absent)}. Code runs only if you name it: "
            f"if you trust it, add --plugin {flag}; in Python: {calls}."
        )


def files_of_plugins(names: str | None) -> dict[str, str]:
    """Return {name: file} for loaded plugins, for the record of a run."""
    modules = {name: sys.modules[module_of(name)] for name in (names or "").split(",") if name}
    return {name: str(getattr(module, "__file__", "")) for name, module in modules.items()}


def file_of(name: str) -> Path | None:
    """Return the file of a plugin, or None for a module that Python has to find."""
    path = Path(name if name.endswith(".py") else f"{name}.py")
    return path.resolve() if path.is_file() else None


def module_of(name: str) -> str:
    """Return the name of the module that a plugin becomes."""
    return Path(name).stem if name.endswith(".py") or file_of(name) else name


def _found(name: str) -> ModuleSpec | None:
    """Return where Python finds a module, or None."""
    try:
        return None if name.endswith(".py") else find_spec(name)
    except (ImportError, ValueError):  # from a package above it
        return None
