"""Draw the synthetic people of prepare.py --synthetic."""
