"""Incomplete or contradictory variables of torchrun give one line in every script."""

import pytest

from tests.support.scripts import refused

SCRIPTS = {
    "test": ["--gpu_ids", "-1"],
    "evaluate_gpu": ["--gpu_ids", "-1"],
    "train_DDP": ["--gpu_ids", "-1", "--weights", "none"],
    "adapt": [
        "--gpu_ids",
        "-1",
        "--backbone",
        "osnet_x0_25",
        "--weights",
        "net.pth",
        "--data_dir",
        "people",
    ],
}
WHOLE = {
    "LOCAL_RANK": "0",
    "RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"LOCAL_RANK": "0"},
            "LOCAL_RANK is set, but not RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun sets",
        ),
        ({**WHOLE, "MASTER_PORT": ""}, "LOCAL_RANK is set, but not MASTER_PORT"),
        (
            {**WHOLE, "LOCAL_RANK": "first"},
            "LOCAL_RANK=first, RANK=0, WORLD_SIZE=2, MASTER_PORT=29500: not what",
        ),
        ({**WHOLE, "RANK": "2"}, "RANK=2, WORLD_SIZE=2"),
        ({**WHOLE, "WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({**WHOLE, "WORLD_SIZE": "-1"}, "WORLD_SIZE=-1"),
        ({**WHOLE, "MASTER_PORT": "70000"}, "MASTER_PORT=70000"),
    ],
)
def test_torchruns_variables_are_complete_and_fit(script, variables, words, here, monkeypatch):
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = refused(script, *SCRIPTS[script], cwd=here)
    assert words in said
    assert "unset LOCAL_RANK" in said
