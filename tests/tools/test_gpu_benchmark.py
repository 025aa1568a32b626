"""benchmarks/speed/gpu.py runs all its parts without a GPU.

None of them then fails first where there is one.
"""

import contextlib
import io

import pytest
import torch

from benchmarks.speed import gpu


def run_part_here(part, options, workspace):
    """What `run_part` does, in this process, which has loaded the libraries."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        gpu.PARTS[part](options, torch.device("cpu"))
    return f"## {part}\n\n{printed.getvalue()}\n\n", True


@pytest.mark.slow  # as the benchmark, it is of use before a release
def test_every_part_runs_on_the_cpu(here, monkeypatch):
    in_a_process = gpu.run_part

    def run_part(part, options, workspace):
        monkeypatch.chdir(workspace)
        quiet = part == "ranking"  # it silences the log of its process
        return (in_a_process if quiet else run_part_here)(part, options, workspace)

    monkeypatch.setattr(gpu, "run_part", run_part)
    gpu.main(["--dry_run", "--gpu_ids", "-1", "--save", str(here / "gpu.md")])
    page = (here / "gpu.md").read_text()
    sections = [line for line in page.splitlines() if line.startswith("## ")]
    assert sections == [f"## {part}" for part in gpu.PARTS]
    assert "suite, TF32" in page
    assert "sixty, extrapolated" in page
    assert "k-reciprocal" in page
