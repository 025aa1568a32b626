"""The former name of the package person_reid: `from reid import Embedder` still
works, with a DeprecationWarning.
"""

import warnings

import person_reid


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    warnings.warn(f"reid.{name} is now person_reid.{name}.", DeprecationWarning, stacklevel=2)
    return getattr(person_reid, name)
