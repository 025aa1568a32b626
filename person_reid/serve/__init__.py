"""An HTTP service to embed, search, identify, add, name and forget images."""
