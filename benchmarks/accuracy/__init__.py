"""How often are answers right, and what does each decision contribute?"""
