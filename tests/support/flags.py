"""Flags of a network that is trained and tested in a fraction of a second."""

TINY = ("--backbone", "test_resnet", "--weights", "none")
NETWORK = (*TINY, "--height", "64", "--width", "32")
SAVED = ("--backbone", "test_resnet", "--weights", "net.pth", "--height", "64", "--width", "32")
SMALLEST = (*TINY, "--height", "32", "--width", "16")
ON_THE_PROCESSOR = (*NETWORK, "--gpu_ids", "-1")
