"""What a training minimises: a network and its criterion as one module."""

from torch import Tensor, nn

from person_reid.distributed import World
from person_reid.models.network import Network
from person_reid.training.criterion import Criterion


class Objective(nn.Module):
    """Network and criterion together, to be recorded, compiled, or synchronised between processes by DDP.

    Every process computes the loss of the whole batch, that of all processes; the gradient that DDP averages equals the
    gradient of one process with the whole batch (see World.gather).
    """

    def __init__(self, network: Network, criterion: Criterion, world: World) -> None:
        super().__init__()
        self.network, self.criterion, self.world = network, criterion, world

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, a scalar, and this process's features and logits for images (B, 3, H, W), targets (B,)."""
        features, logits = self.network(images)
        logits = self.criterion.scores(features, logits)
        gather = self.world.gather
        return self.criterion(gather(features), gather(logits), gather(targets)), features, logits
