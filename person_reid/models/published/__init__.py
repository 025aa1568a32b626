"""Networks published by others, available under their own names for testing and export."""
