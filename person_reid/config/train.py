"""All options of train.py, and among them the options of `fit`."""

from typing import ClassVar

from person_reid.config.data import AugmentationOptions, BatchOptions, ImageOptions
from person_reid.config.forms import Sizes, image_sizes
from person_reid.config.losses import LossOptions
from person_reid.config.network import NetworkOptions, PublishedNetworks, WeightOptions
from person_reid.config.optimizer import OptimizerOptions
from person_reid.config.option import OptionError
from person_reid.config.run import RecordOptions, RunOptions


class FitOptions(LossOptions, OptimizerOptions, AugmentationOptions, BatchOptions):
    """How to train: losses, optimiser, augmentation and batches, but no paths, names or layers.

    >>> FitOptions(total_epoch=20, lr=0.02, triplet=True, sampler="pk").erasing_p
    0.0
    """

    @property
    def sizes(self) -> Sizes:
        """The sizes of resize_schedule with the epochs at which they begin.

        Raises OptionError for unused ones.
        """
        try:
            return image_sizes(self.resize_schedule, self.total_epoch)
        except ValueError as error:
            raise OptionError(
                f"{{resize_schedule}}: {error} of {{total_epoch}}.",
                resize_schedule=self.resize_schedule,
                total_epoch=self.total_epoch,
            ) from None


class TrainConfig(
    PublishedNetworks,
    FitOptions,
    NetworkOptions,
    WeightOptions,
    RecordOptions,
    ImageOptions,
    RunOptions,
):
    """All options of train.py.

    labelled: whether the images have identities to learn.
    """

    labelled: ClassVar[bool] = True
