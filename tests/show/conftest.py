import pytest
from matplotlib.figure import Figure


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
