"""The layers of a network that a text names: `--freeze_layers model.conv1,model.layer1`."""

from torch import nn

from person_reid.config.option import OptionError
from person_reid.text import as_command, did_you_mean


def layers_named(network: nn.Module, text: str | None) -> list[nn.Module | nn.Parameter]:
    """Return the modules and weights of a network that a text names, separated by commas.

    Their names are those in the state dict, without `.weight` and the like; `model.`, where the
    backbone is, may be omitted. Raises OptionError for a name that the network does not have.

    >>> layers_named(create_model("resnet18"), "conv1")
    [Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)]
    """
    found: list[nn.Module | nn.Parameter] = []
    known = {**dict(network.named_parameters()), **dict(network.named_modules())}
    del known[""]  # the network itself
    for name in text.split(",") if text else ():
        layer = known.get(name) or known.get(f"model.{name}")
        if layer is None:
            raise OptionError(
                f"{{freeze_layers}}: this network has no layer {name!r}.{did_you_mean(name, known)}"
                f" `{as_command('model.py')} NETWORK` shows its stages.",
                freeze_layers=text,
            )
        found.append(layer)
    return found
