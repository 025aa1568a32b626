"""Use a trained network elsewhere: loading, exported files, and the Embedder."""
