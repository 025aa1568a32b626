"""The options of tools/label_errors.py."""

from person_reid.config.forms import output_path
from person_reid.config.look import PaperLook
from person_reid.config.option import FRACTION, PART, POSITIVE, Options, option, redeclared
from person_reid.config.run import RecordOptions
from person_reid.config.tested import TrainedNetwork

# train and val are made from train_all.
CHECKED_SPLITS = ("train_all", "query", "gallery", "multi-query")


class LabelErrorOptions(Options, title="labels"):
    """The labels to check, the ones to list, and the files to write."""

    data_dir: str = option(
        "../Market/pytorch", "folder laid out by prepare.py", metavar="DIR", common=True
    )
    split: str = option("train_all", "folder of --data_dir", choices=CHECKED_SPLITS, common=True)
    least: float = option(
        0.3, "lowest probability of a proposal that is listed", range=PART, common=True
    )
    accept_above: float | None = option(
        None,
        "accept proposals of at least this probability",
        range=FRACTION,
        metavar="P",
        common=True,
    )
    save: str = option(
        "label_errors.csv", "list to write", form=output_path, metavar="FILE", common=True
    )
    shown: int = option(
        20, "number of images in the picture beside it", range=POSITIVE, common=True
    )
    runtime: str | None = redeclared(RecordOptions, "runtime", None, needs={}, common=True)


class LabelErrorsConfig(PaperLook, TrainedNetwork, LabelErrorOptions):
    """All options of tools/label_errors.py."""
