"""Fixtures that the tests of galleries share."""

import pytest


@pytest.fixture
def quick_codes(monkeypatch):
    """Codes that are learnt in two rounds, not 25: for tests of files, not of recall."""
    faiss = pytest.importorskip("faiss")

    def made(*words, original=faiss.index_factory):
        index = original(*words)
        if isinstance(index, faiss.IndexIVFPQ):
            index.pq.cp.niter = 2
        return index

    monkeypatch.setattr(faiss, "index_factory", made)
