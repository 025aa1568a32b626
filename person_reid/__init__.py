"""Person re-identification: data, networks, losses, training, retrieval, deployment, pictures.

>>> import person_reid
>>> embed = person_reid.Embedder("ft_ResNet50")       # the run model/ft_ResNet50
>>> features = embed(["a.jpg", "b.jpg"])              # (2, D), each of unit length

Names are imported when they are first used: importing the package does not import torch.
__init__.pyi lists all of them, and docs/reference.md has their arguments.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
