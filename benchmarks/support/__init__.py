"""Helpers that benchmarks share with one another or with the tests."""
