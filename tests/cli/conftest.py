"""Fixtures of other rooms that the commands' tests use, too."""

from tests.data.conftest import download
from tests.retrieval.conftest import published

__all__ = ["download", "published"]
