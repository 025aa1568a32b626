"""The network of a command line, with errors spelled as a script spells them, and a bare module."""

from person_reid.console.options import spelled_as_flags
from person_reid.deploy import find
from person_reid.models.factory import find_architecture

open_embedder = spelled_as_flags()(find.open_embedder)
run_to_test = spelled_as_flags()(find.run_to_test)
tested_network = spelled_as_flags()(find.tested_network)


def built(name, **settings):
    """The module that the architecture of a name builds, and the architecture."""
    architecture = find_architecture(name)
    return architecture.build(called=name, **settings), architecture
