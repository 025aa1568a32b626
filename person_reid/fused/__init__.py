"""Layers in C that train on a processor with fewer passes over memory than PyTorch's."""
