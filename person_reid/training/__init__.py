"""Train networks, from options to checkpoints."""
