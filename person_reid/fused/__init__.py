"""Layers that train on a processor in fewer passes over memory than PyTorch's, in C."""
