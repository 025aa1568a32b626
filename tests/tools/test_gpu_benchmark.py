"""benchmarks/speed/gpu.py runs all its parts without a GPU.

None of them then fails first where there is one.
"""

import pytest

from benchmarks.speed import gpu
from benchmarks.support.people import write_people


@pytest.mark.slow  # as the benchmark, it is of use before a release
def test_every_part_runs_on_the_cpu(tmp_path, capsys):
    write_people(tmp_path / "people" / "train_all", people=4, images=6)
    gpu.main(["--dry_run", "--gpu_ids", "-1", "--data_dir", str(tmp_path / "people")])
    page = capsys.readouterr().out
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [*gpu.PARTS]
    for row in ("suite, TF32", "osnet_x0_25, bfloat16", "tiny | k-reciprocal"):
        assert row in page
