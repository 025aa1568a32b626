"""Recipes, of which every run of tools/reproduce.py reads sixty."""

import pytest

from tools import recipes

READ: dict = {}


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """A recipe that has not changed is read once."""

    def read(path, original=recipes.read_recipe):
        key = str(path), path.read_bytes()
        if key not in READ:
            READ[key] = original(path)
        return READ[key]

    monkeypatch.setattr(recipes, "read_recipe", read)
