"""The pieces from which model.py assembles a network."""
