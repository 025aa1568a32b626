"""Train networks, from a spec to checkpoints."""
