"""Fixtures of other packages that the tests of the scripts use."""

from tests.data.conftest import download
from tests.retrieval.conftest import published

__all__ = ["download", "published"]
