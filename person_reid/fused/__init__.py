"""Layers in C for training on a CPU with fewer passes over memory than PyTorch's layers need."""
