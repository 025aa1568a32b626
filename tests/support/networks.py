"""A bare module of an architecture."""

from person_reid.models.factory import find_architecture


def built(name, **settings):
    """The module that the architecture of a name builds, and the architecture."""
    architecture = find_architecture(name)
    return architecture.build(called=name, **settings), architecture
