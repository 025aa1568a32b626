# PYTHON_ARGCOMPLETE_OK
"""Run test.py with the network as PyTorch runs it by itself: channels first, nothing fused.

    python benchmarks/speed/eager.py --backbone osnet_x0_25 --weights osnet.pth --gpu_ids -1

Takes the flags of test.py and gives the same features, more slowly. For comparison: see
benchmarks/speed/runtimes.py.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import ROOT
from person_reid.config.tested import TestConfig
from person_reid.console import parse, run_script
from test import test


class ChannelsFirst(torch.nn.Module):
    """An embedding of images (B, 3, H, W), whatever their order in memory."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding.to(memory_format=torch.contiguous_format)

    def forward(self, images):
        """Return the features (B, D)."""
        return self.embedding(images.contiguous())


@contextmanager
def eager():
    """Leave networks as they are when features are computed."""
    with patch("person_reid.retrieval.features.fuse", ChannelsFirst):
        yield


def main(argv=None):
    config = parse(TestConfig, argv, __doc__)
    with eager():
        test(config)


if __name__ == "__main__":
    os.chdir(ROOT)
    run_script(main)
