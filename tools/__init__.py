"""Further commands. Each is a script with its own help: `python tools/NAME.py --help`."""
