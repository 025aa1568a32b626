"""How large may a gallery become, and what do searches in it cost?"""
