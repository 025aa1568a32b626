"""Build hooks for hatchling: the README for the package index, and the files of the wheel."""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)")  # a link or a picture of this repository


class Readme(MetadataHookInterface):  # type: ignore[misc, unused-ignore]
    """Make the README's addresses absolute, once [project.urls] names a Repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the README in the package's metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        if repository:
            text = RELATIVE.sub(lambda found: absolute(found, repository), text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class Scripts(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]
    """Put the scripts in a wheel; an editable installation uses the scripts in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Tell hatchling which files to include; version: "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"] |= self.config["files"]


def absolute(found: re.Match[str], repository: str) -> str:
    """Return the beginning of an absolute link, up to the path of its file."""
    picture, text = found.groups()
    return f"{picture}[{text}]({repository.rstrip('/')}/{'raw' if picture else 'blob'}/main/"
