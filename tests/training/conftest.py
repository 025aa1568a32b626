"""Fixtures that the tests of training share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_curves():
    """No curves are drawn, which takes half the time of a short run.

    tests/show/test_curves.py looks at them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("person_reid.show.charts.draw_curves", lambda *_: None)
        yield
