"""Fixtures of other packages that the tests of the pages use."""

from tests.reproduce.conftest import read_once

__all__ = ["read_once"]
