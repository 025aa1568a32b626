"""The user's own images: folders, lists and tables, and corrections of them."""
