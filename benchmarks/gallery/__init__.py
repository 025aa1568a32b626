"""How large can a gallery become, and what do searches in it cost?"""
