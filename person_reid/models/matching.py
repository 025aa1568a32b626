"""Load the tensors of a state dict that fit a module, by name and shape."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from person_reid.models.published.transformer_weights import resampled

# Norms have counted their batches since PyTorch 0.4.1. Older files lack the counts; nothing depends
# on them.
COUNTERS = "num_batches_tracked"


@dataclass
class LoadReport:
    """The result of loading a file, as names of tensors.

    loaded: into the network. unknown: not in the network. mismatched: of another shape. missing:
    not in the file.
    """

    loaded: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for names, what in (
            (self.unknown, "of the file not used"),
            (self.mismatched, "of another shape skipped"),
            (self.missing, "left as initialised"),
        ):
            more = ", …" if len(names) > 3 else ""
            parts += [f"{len(names)} ({', '.join(names[:3])}{more}) {what}"] if names else []
        return "; ".join(parts)


def load_matching(module: nn.Module, state_dict: dict[str, Tensor]) -> LoadReport:
    """Load every tensor of `state_dict` that `module` has with the same name and shape.

    Returns a LoadReport. Position embeddings and biases of another grid are resampled to the
    module's.
    """
    own = module.state_dict()
    report = LoadReport(
        missing=[name for name in own if name not in state_dict and not name.endswith(COUNTERS)]
    )
    fitting = {}
    for name, value in state_dict.items():
        if name in own and own[name].shape != value.shape:
            value = resampled(module, name, value)
        if name not in own:
            report.unknown.append(name)
        elif own[name].shape != value.shape:
            report.mismatched.append(name)
        else:
            fitting[name] = value
            report.loaded.append(name)
    module.load_state_dict(fitting, strict=False)
    return report
