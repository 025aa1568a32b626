"""Flags of a network that is trained and tested in a fraction of a second."""

NETWORK = ["--backbone", "test_resnet", "--weights", "none", "--height", "64", "--width", "32"]
ON_THE_PROCESSOR = [*NETWORK, "--gpu_ids", "-1"]
