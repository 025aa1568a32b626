"""Use a trained network elsewhere: loading, exported files, the Embedder."""
