"""Further commands, each a script with its own help: `python tools/NAME.py --help`."""
