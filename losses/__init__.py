"""Create losses by name: `losses.create_loss("triplet", margin=0.3)`.

They live in person_reid.losses.
"""

from person_reid.losses import (
    LOSS_OF_HEAD,
    PUBLISHED_LOSSES,
    REGISTRY,
    ArcFaceLoss,
    ArcFaceSoftmaxLoss,
    CenterLoss,
    CircleLoss,
    CircleSoftmaxLoss,
    ContrastiveLoss,
    CosFaceLoss,
    CosineSoftmaxLoss,
    CrossEntropyLoss,
    FeatureLoss,
    FocalLoss,
    InstanceLoss,
    LiftedLoss,
    MultiSimilarityLoss,
    RankedListLoss,
    SphereFaceLoss,
    TripletLoss,
    VerificationLoss,
    Weighted,
    create_loss,
    parse_losses,
    published_loss,
    table_of_losses,
)

__all__ = [
    "LOSS_OF_HEAD", "PUBLISHED_LOSSES", "REGISTRY", "ArcFaceLoss", "ArcFaceSoftmaxLoss",
    "CenterLoss", "CircleLoss", "CircleSoftmaxLoss", "ContrastiveLoss", "CosFaceLoss",
    "CosineSoftmaxLoss", "CrossEntropyLoss", "FeatureLoss", "FocalLoss", "InstanceLoss",
    "LiftedLoss", "MultiSimilarityLoss", "RankedListLoss", "SphereFaceLoss", "TripletLoss",
    "VerificationLoss", "Weighted", "create_loss", "parse_losses", "published_loss",
    "table_of_losses",
]  # fmt: skip
