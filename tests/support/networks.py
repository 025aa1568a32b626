"""The network of a command line, with errors spelled as a script spells them."""

from person_reid.console import command
from person_reid.deploy import find

open_embedder = command(find.open_embedder)
run_to_test = command(find.run_to_test)
tested_network = command(find.tested_network)
