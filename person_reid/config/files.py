"""Read options from files: a user's --config, a recipe, or the opts.yaml of a run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from person_reid.config.network import NetworkOptions, ignores_stride
from person_reid.config.option import ALIASES, Options
from person_reid.errors import UserError
from person_reid.registration import check_loaded
from person_reid.text import did_you_mean

# Entries of a run's opts.yaml, ours or the published code's, that are not options. The file can be
# the --config of a new run.
IGNORED_IN_OPTIONS_FILES = {
    "nclasses",
    "plugin_files",
    "local_rank",
    "world_size",
    "workers",
    "prefetch_factor",
    "profile",
}
# Options for how a run was started. A new run that uses the file is started in its own way.
AS_STARTED = {"config", "resume", "dry_run"}
log = logging.getLogger(__name__)


def options_in(
    content: Mapping[str, Any], kind: type[Options], path: str | Path, strict: bool = True
) -> dict[str, Any]:
    """Return the options in a file as {name: value}, with values of the right types.

    content: the file's content. kind: the configuration that declares the options. path: for
    messages.
    strict: reject unknown names, and plugins that are not loaded, because a file never causes
        code to run. Otherwise, unknown names are ignored, because files of other versions have
        some, and so are training values that need a plugin, because a network is tested without
        them.

    Raises UserError for a value that does not fit.
    """
    known, values = kind.declared(), {}
    if strict:
        check_plugins(content, path)
    if ignores_stride(content):
        log.warning("%s: the published network ignored stride: 1, and so does this one.", path)
        content = {**content, "stride": 2}
    if strict and "nclasses" in content:
        content = {name: value for name, value in content.items() if name not in AS_STARTED}
    if strict and content.get("config") is not None:
        raise UserError(f"{path}: config: a file cannot name another: write its options here.")
    for name, value in content.items():
        if name not in known:
            if strict and name not in IGNORED_IN_OPTIONS_FILES:
                meant = did_you_mean(ALIASES.get(str(name), str(name)), known)
                raise UserError(f"{path}: unknown option {name!r}.{meant}")
            continue
        if value is None and not strict and known[name].default is not None:
            continue  # earlier versions wrote null for the default
        # The published code writes a list; [] is the CPU.
        if name == "gpu_ids" and isinstance(value, list):
            value = ",".join(map(str, value)) or "-1"
        try:
            values[name] = known[name].checked(value)
        except ValueError as error:
            if not strict and content.get("plugin") and name not in NetworkOptions.declared():
                continue
            check_plugins(content, path)
            raise UserError(f"{path}: {name}: {value!r} does not fit ({error}).") from None
    return values


def check_plugins(content: Mapping[str, Any], path: str | Path) -> None:
    """Raise UserError if a file names plugins that are not loaded."""
    if content.get("plugin"):
        check_loaded(str(content["plugin"]).split(","), path, content.get("plugin_files"))
