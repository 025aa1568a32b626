"""An HTTP service that embeds, searches, identifies, adds, names and forgets."""
