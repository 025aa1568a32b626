"""A service over HTTP: other programs embed, search, identify, add, name and forget."""
