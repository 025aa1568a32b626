"""The parts of a network, and the functions that build networks."""
