"""The network of a command line, with errors spelled as a script spells them."""

from person_reid.console.options import spelled_as_flags
from person_reid.deploy import find

open_embedder = spelled_as_flags()(find.open_embedder)
run_to_test = spelled_as_flags()(find.run_to_test)
tested_network = spelled_as_flags()(find.tested_network)
