"""Person re-identification: data, models, training, retrieval, pictures.

import reid
features = reid.Embedder("ft_ResNet50")(images)      # (N, D), of unit length
"""


def __getattr__(name):
    if name == "Embedder":  # imported when it is asked for: it needs torch, which takes its time
        from reid.embedder import Embedder

        return Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
