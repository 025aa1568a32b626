"""Further commands: each runs by itself, `python tools/NAME.py --help`."""
