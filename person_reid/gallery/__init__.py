"""Build, extend and search a saved index."""
