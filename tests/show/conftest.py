import pytest
from matplotlib.figure import Figure

from tools.docs.browser import Browser


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures that were written, in order."""
    figures = []
    write = Figure.savefig

    def remember(self, *arguments, **settings):
        figures.append(self)
        return write(self, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures
