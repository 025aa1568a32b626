"""Create losses by name: `losses.create_loss("triplet", margin=0.3)`.

The losses themselves are in person_reid.losses.
"""

from person_reid.config.train import PUBLISHED_LOSSES
from person_reid.losses import LOSS_OF_HEAD, Weighted, create_loss, published_loss, table_of_losses
from person_reid.losses.base import REGISTRY, FeatureLoss
from person_reid.losses.center import CenterLoss
from person_reid.losses.classification import (
    ArcFaceLoss,
    ArcFaceSoftmaxLoss,
    CircleSoftmaxLoss,
    CosFaceLoss,
    CosineSoftmaxLoss,
    CrossEntropyLoss,
    FocalLoss,
    SphereFaceLoss,
)
from person_reid.losses.pairs import (
    CircleLoss,
    ContrastiveLoss,
    InstanceLoss,
    LiftedLoss,
    MultiSimilarityLoss,
    RankedListLoss,
    VerificationLoss,
)
from person_reid.losses.plan import parse_losses
from person_reid.losses.triplet import TripletLoss

__all__ = [
    "LOSS_OF_HEAD", "PUBLISHED_LOSSES", "REGISTRY", "ArcFaceLoss", "ArcFaceSoftmaxLoss",
    "CenterLoss", "CircleLoss", "CircleSoftmaxLoss", "ContrastiveLoss", "CosFaceLoss",
    "CosineSoftmaxLoss", "CrossEntropyLoss", "FeatureLoss", "FocalLoss", "InstanceLoss",
    "LiftedLoss", "MultiSimilarityLoss", "RankedListLoss", "SphereFaceLoss", "TripletLoss",
    "VerificationLoss", "Weighted", "create_loss", "parse_losses", "published_loss",
    "table_of_losses",
]  # fmt: skip
