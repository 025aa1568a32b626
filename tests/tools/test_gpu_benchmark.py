"""benchmarks/gpu.py runs all its parts where there is no GPU, so that none fails first where there is one."""

import subprocess
import sys

from tests.support import ROOT


def test_every_part_runs_on_the_cpu(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--dry_run", "--gpu_ids", "-1", "--save", "gpu.md"]
    done = subprocess.run(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    page = (tmp_path / "gpu.md").read_text()
    sections = [line for line in page.splitlines() if line.startswith("## ")]
    assert sections == [f"## {part}" for part in ("tests", "training", "epochs", "extraction", "ranking", "losses")]
    assert "suite, TF32" in page and "sixty, extrapolated" in page and "k-reciprocal" in page and "triplet" in page
