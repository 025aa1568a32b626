"""The saved index that grows: build it, search it."""
