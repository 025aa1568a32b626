"""Reproduce published results: the form of a recipe, its runs, and the
page that compares the figures.
"""
