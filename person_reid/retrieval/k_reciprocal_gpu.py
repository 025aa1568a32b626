"""k-reciprocal re-ranking on a GPU: the encoding comes from k_reciprocal.py, the GPU compares it query by query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from person_reid.retrieval.k_reciprocal import KReciprocalScores
from person_reid.retrieval.neighbours import NeighbourSearch
from person_reid.retrieval.similarity import CHUNK_BYTES, Features

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch


class KReciprocalScoresOnGPU(KReciprocalScores):
    """KReciprocalScores on `device`, with the same arguments; its scores are tensors."""

    def __init__(
        self, query: Features, gallery: Features, k1: int, k2: int, lambda_value: float, neighbours: NeighbourSearch,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        import torch

        super().__init__(query, gallery, k1, k2, lambda_value, neighbours, torch.device(device))
        self.block = max(1, CHUNK_BYTES // (8 * len(gallery)))  # the sums in float64 are one chunk more
        cosines = self.cosines  # arrays, if the device is the CPU
        self.cosines = lambda start, stop: torch.as_tensor(cosines(start, stop), device=device)
        self.farthest = torch.from_numpy(self.farthest).to(device)
        rows, columns = self.query_encoding, self.gallery_columns
        # for each entry of a query: which query, its weight, and the entries of gallery images that share it
        sizes = np.diff(columns.indptr)[rows.indices]
        entries = np.repeat(np.arange(len(query)), np.diff(rows.indptr)), rows.data, columns.indptr[rows.indices], sizes
        self.owners, self.weights, self.starts, self.sizes = (torch.from_numpy(each).to(device) for each in entries)
        self.totals = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.images, self.others = (torch.from_numpy(each).to(device) for each in (columns.indices, columns.data))

    def shared(self, first: int, last: int) -> torch.Tensor:
        """Return Σ min(query, image) over the entries, eq. 10, (last - first, G) float32."""
        import torch

        entries = slice(*self.query_encoding.indptr[[first, last]])
        total = int(self.totals[entries.stop] - self.totals[entries.start])
        sizes, device = self.sizes[entries].long(), self.sizes.device
        entry = torch.arange(len(sizes), device=device).repeat_interleave(sizes, output_size=total)
        place = torch.arange(total, device=device) + (self.starts[entries] - sizes.cumsum(0) + sizes)[entry]
        smaller = torch.minimum(self.weights[entries][entry], self.others[place])
        cells = (self.owners[entries] - first)[entry] * self.gallery_columns.shape[0] + self.images[place]
        # float64, so that the order in which a GPU adds does not show
        sums = torch.zeros(last - first, self.gallery_columns.shape[0], dtype=torch.float64, device=device)
        return sums.view(-1).index_add_(0, cells, smaller.double()).view_as(sums).float()
