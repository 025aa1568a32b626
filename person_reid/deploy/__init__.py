"""From a trained network to features elsewhere: loading, exported files, the Embedder."""
