"""The README on a package index, which knows neither the pictures nor the pages beside it."""

import re
import sys
from types import SimpleNamespace

import pytest

from tests.support import ROOT

HOOKS = {  # hatchling is there only while a package is built
    "hatchling.metadata.plugin.interface": SimpleNamespace(MetadataHookInterface=object),
    "hatchling.builders.hooks.plugin.interface": SimpleNamespace(BuildHookInterface=object),
}
REPOSITORY = "https://github.com/somebody/reid"


@pytest.fixture
def described(monkeypatch):
    """A function from the table [project.urls] to the description of the package."""
    monkeypatch.delitem(sys.modules, "hatch_build", raising=False)
    for name, module in HOOKS.items():
        monkeypatch.setitem(sys.modules, name, module)
    from hatch_build import Readme

    def describe(urls):
        hook, metadata = Readme(), {"urls": urls} if urls else {}
        hook.root = str(ROOT)
        hook.update(metadata)
        return metadata["readme"]["text"]

    yield describe
    sys.modules.pop("hatch_build")


def test_without_an_address_the_readme_stays_as_it_is(described):
    assert described({}) == (ROOT / "README.md").read_text(encoding="utf-8")


def test_with_an_address_every_picture_and_link_leads_to_a_file_of_the_repository(described):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = described({"Repository": f"{REPOSITORY}/"})
    targets = re.findall(rf"\]\(({re.escape(REPOSITORY)}[^)#]+)", text)
    assert len(targets) == len(re.findall(r"\](?=\((?!\w+:))", readme)) > 20
    for target in targets:
        kind = "raw" if target.endswith((".jpg", ".png", ".webp")) else "blob"
        begin, path = target[: len(f"{REPOSITORY}/{kind}/main/")], target.split("/main/")[1]
        assert begin == f"{REPOSITORY}/{kind}/main/"
        assert (ROOT / path).is_file()
    assert (
        text.replace(f"{REPOSITORY}/blob/main/", "").replace(f"{REPOSITORY}/raw/main/", "")
        == readme
    )
