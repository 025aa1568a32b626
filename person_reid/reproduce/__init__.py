"""From a recipe to a line of published against measured: its form, its runs, and the page of results."""
