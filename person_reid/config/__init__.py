"""Declare each script option once, as a field of a frozen dataclass with help, choices and default.

The name of the field is the flag, the key in opts.yaml and the attribute. There are three
exceptions. FLAGS in option.py lists the few flags with other names. `--batchsize` of train.py
counts the images of all GPUs of --gpu_ids, and opts.yaml stores the share of one GPU. The flags by
which the published code chooses a network, a schedule or a loss are translated into the options
that they stand for; opts.yaml keeps the flags as well as these options.

This package imports only the standard library.
"""

from person_reid.config.train import FitOptions as FitOptions
from person_reid.config.train import TrainConfig as TrainConfig
