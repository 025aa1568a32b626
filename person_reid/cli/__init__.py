"""The commands: one module each, and the parser, flags and options that they share. argparse ends here."""
