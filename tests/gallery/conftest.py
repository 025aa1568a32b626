"""Fixtures that the tests of galleries share."""

import pytest

from person_reid.gallery import inverted_lists


@pytest.fixture
def quick_codes(monkeypatch):
    """Codes that are learnt in one round and tried on few images: for tests of files alone."""
    faiss = pytest.importorskip("faiss")

    def made(*words, original=faiss.index_factory):
        index = original(*words)
        if isinstance(index, faiss.IndexIVFPQ):
            index.pq.cp.niter = 1
        return index

    monkeypatch.setattr(faiss, "index_factory", made)
    monkeypatch.setattr(inverted_lists, "SAMPLED_IMAGES", 30)
