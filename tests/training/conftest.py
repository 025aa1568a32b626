"""What the tests of training share."""

import pytest


@pytest.fixture(scope="package", autouse=True)
def no_curves():
    """A short run spends half of its time drawing its curves; tests/show/test_curves.py looks at
    them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("person_reid.show.curves.draw_curves", lambda *_: None)
        yield
