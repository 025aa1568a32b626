"""Person re-identification: data, networks, losses, training, retrieval, deployment, pictures.

>>> import person_reid
>>> embed = person_reid.Embedder("ft_ResNet50")       # the run model/ft_ResNet50
>>> features = embed(["a.jpg", "b.jpg"])              # (2, D), each of unit length

Names are imported when they are first used: importing the package does not import torch.
__init__.pyi lists the names, and docs/reference.md has their arguments.
"""

import lazy_loader

__version__ = "0.2.0"
_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Return the object called `name`; the error for an unknown name suggests the closest one."""
    try:
        return _attribute(name)
    except AttributeError:
        if name in __all__ or name.startswith("__"):
            raise
    from person_reid.text import did_you_mean

    raise AttributeError(f"person_reid has no {name!r}.{did_you_mean(name, __all__)}")
