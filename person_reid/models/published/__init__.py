"""Networks published by others, under their own names, to test and to export."""
