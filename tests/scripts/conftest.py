"""Fixtures that the tests of the scripts use, some of them of other packages."""

from pathlib import Path

import pytest

from person_reid.deploy import find
from tests.data.conftest import download
from tests.deploy.conftest import written_once
from tests.retrieval.conftest import published
from tests.show.conftest import quick_pictures

__all__ = ["download", "published", "quick_pictures", "written_once"]
OPEN: dict = {}


@pytest.fixture
def opened_once(monkeypatch):
    """A file of weights with the same content is opened once for the same options."""

    def opened(options, *more, original=find.open_embedder, **others):
        if more or others or not (options.weights and Path(options.weights).is_file()):
            return original(options, *more, **others)
        told = {name: value for name, value in vars(options).items() if name != "weights"}
        key = repr(told), Path(options.weights).read_bytes()
        if key not in OPEN:
            OPEN[key] = original(options)
        return OPEN[key]

    monkeypatch.setattr("person_reid.open_embedder", opened)  # the package keeps what it finds
    monkeypatch.setattr(find, "open_embedder", opened)
