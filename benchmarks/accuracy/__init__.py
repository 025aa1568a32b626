"""How often are answers right, and what does each design decision contribute?"""
