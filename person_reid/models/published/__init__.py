"""Networks that others have published, under their own names, to test and to export."""
