"""Every option of every script, once: a field of a frozen dataclass, with its help, choices and
default beside it.

The name of the field is the flag, the key in opts.yaml and the attribute. Two are exceptions:
`--batchsize` of train.py is the total of all GPUs of --gpu_ids, and opts.yaml holds the share of
one; the flags by which the published code chooses a network, a schedule or a loss are turned into
the options that they stand for, and stay in opts.yaml.

This package imports the standard library alone.
"""

from person_reid.config.option import OptionError as OptionError
from person_reid.config.train import FitOptions as FitOptions
from person_reid.config.train import TrainConfig as TrainConfig
