"""Helpers that tests share."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of real photographs and of networks trained on people, which are not in the repository.
REAL_DATA = Path(os.environ.get("REID_REAL_DATA", ROOT.parent / "shared" / "data"))
FIXTURES = ROOT / "tests" / "fixtures"
