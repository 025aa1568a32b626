"""The people that prepare.py --synthetic draws."""
