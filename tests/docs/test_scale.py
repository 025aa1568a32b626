"""The tables of large galleries, and the arithmetic of benchmarks/gallery/scale.py."""

import pytest

from benchmarks.gallery import scale
from tests.support import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def test_the_page_is_in_step_with_what_was_measured(tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    scale.main(["--save", str(copy)])
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), (
        "python benchmarks/gallery/scale.py --save docs/benchmarks.md"
    )


@pytest.fixture
def measured(monkeypatch):
    """A million and ten million images: GB and seconds are round numbers."""
    rows = [
        scale.Measured(10**6, 60, 120, 2, 1, 5, 10),
        scale.Measured(10**7, 600, 1200, 20, 4, 10, 20),
    ]
    monkeypatch.setattr(scale, "MEASURED", rows)


def test_sizes_are_computed_from_the_nearest_measured_one_below(measured):
    assert scale.at(5 * 10**6) == pytest.approx(
        (5 * 10**6, 300, 120 * 5**1.5, 10, 5, 5**1.5, 10 * 5**0.5)
    )
    assert scale.at(10**7) == scale.MEASURED[1]
    assert scale.at(10**9) == pytest.approx((10**9, 60_000, 1_200_000, 2000, 400, 100, 200))


def test_what_limits_first_depends_on_the_machine(measured, capsys):
    def limits(*words):
        scale.main(list(words))
        table = capsys.readouterr().out.partition("| limit | images |\n")[2].splitlines()
        return dict(line.strip("| ").split(" | ") for line in table[1:5])

    large = limits("--memory", "128", "--disk", "1000")
    assert large == {
        "memory": "320 million",
        "a day to add and build": "160 million",
        "disk": "500 million",
        "a second for a query": "25,000 million",
    }
    assert next(iter(limits("--memory", "128", "--disk", "100"))) == "disk"
