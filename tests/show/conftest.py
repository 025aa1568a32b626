import pytest
from matplotlib.figure import Figure

from person_reid.show.style import STYLE_SETTINGS


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Pictures are written sooner, into larger files."""
    monkeypatch.setitem(STYLE_SETTINGS, "png", {"pil_kwargs": {"compress_level": 1}})


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
