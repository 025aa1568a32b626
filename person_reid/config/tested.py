"""The options that name a trained network, and the options of test.py."""

from dataclasses import replace

from person_reid.config import zoo
from person_reid.config.forms import file_ending_in, listed_numbers, printable_text, three_numbers
from person_reid.config.network import NetworkOptions, PublishedNetworks
from person_reid.config.option import (
    ANY,
    POSITIVE,
    SEED,
    SIDE,
    Config,
    Options,
    option,
    redeclared,
)
from person_reid.config.run import DeviceOptions, RecordOptions
from person_reid.config.train import PrecisionOptions
from person_reid.errors import UserError

SMALLEST_AREA, LARGEST_AREA = 0.1, 10  # area of a resized image, as a multiple of the network's
OF_ENGINE = {"engine": ANY}
# Options that name a network.
NAMING = ("name", "which_epoch", "from_run", "backbone", "weights", "engine")
EXPORT_FORMATS = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export"}  # by ending
READABLE = {**EXPORT_FORMATS, ".xml": "openvino"}  # files from which a network can be tested
CONFIG_FILE = "config.json"  # describes the network, in a folder of save_pretrained
# Training options of a network that tests do not need, or that another group declares.
NOT_DESCRIBED = {"backbone", "height", "width", "droprate", "drop_path"}
# Network options that the published test.py also has.
PUBLISHED_OPTIONS = {"PCB", "usam", "linear_num", "ibn", "use_dense", "use_efficient", "use_hr"}


class RunToTest(Options, title="network of a run"):
    """The network of a run."""

    name: str | None = option(
        None,
        "name of the run (default: ft_ResNet50, or the only run there is)",
        published=True,
        common=True,
    )
    which_epoch: str = option(
        "last",
        "last, average, average_bn, or an epoch such as 60",
        published=True,
        common=True,
    )


class FileToTest(Options, title="network of a weight file"):
    """The network in a weight file."""

    backbone: str | None = option(
        None, "network of a weight file that belongs to no run", common=True
    )
    weights: str | None = option(
        None,
        "weight file of --backbone, none for random weights, or the name of a published network",
        metavar="FILE",
        implies=zoo.implied,
        common=True,
    )
    seed: int = option(0, "seed of the random weights", range=SEED)


class FolderToTest(Options, title="network of a folder"):
    """The network in a self-describing folder."""

    from_run: str | None = option(
        None,
        "folder from tools/save_pretrained.py, owner/name on Hugging Face, or the name of a run "
        "or of a network in this package",
        flags=("--from",),
        metavar="FOLDER",
        common=True,
    )


def declare_layers(kind: type[Options]) -> None:
    """Redeclare the layers of a network in another class of options.

    None means the run's value, or the default.
    """
    for source in (NetworkOptions, PublishedNetworks):
        for name, each in source.declared().items():
            if name not in NOT_DESCRIBED:
                default = False if each.kind is bool else None
                published = name in PUBLISHED_OPTIONS
                changes = {"stands_for": None, "common": False, "published": published}
                kind.__annotations__[name] = each.kind if each.kind is bool else each.kind | None
                setattr(kind, name, redeclared(source, name, default, **changes))


class Description(
    Options,
    title="description of a weight file's network; for a run, it must agree with opts.yaml",
    declare=declare_layers,
):
    """The layers of the network: the training options that describe them.

    A run is described by its opts.yaml, with which these options must agree. For a weight file, the
    feature follows the neck if neck, head or linear_num is given, and is otherwise the backbone's.
    """


class SizeToTest(Options, title="size of the images"):
    """The size of the images, if it differs from the size in training."""

    height: int | None = option(None, "height of the images (default: the network's)", range=SIDE)
    width: int | None = option(None, "width of the images (default: the network's)", range=SIDE)


class TrainedNetwork(SizeToTest, Description, FolderToTest, FileToTest, RunToTest, DeviceOptions):
    """The trained network that a command uses, from a run, a weight file or a folder."""

    gpu_ids: str = redeclared(
        DeviceOptions,
        "gpu_ids",
        "0",
        help="GPU to use; -1 for the CPU, which is also used without a GPU",
    )


class UsedNetwork(TrainedNetwork):
    """The network that a command uses: by default, the network in this package."""

    name: str | None = redeclared(
        RunToTest,
        "name",
        None,
        help=f"name of the run (default: none, but --from {zoo.PACKAGED_NETWORK}, in the package)",
    )

    def or_packaged(self: Config) -> Config:
        """Return the options, with the network in this package as the default."""
        if self.not_default(NAMING):
            return self
        return replace(self, from_run=zoo.PACKAGED_NETWORK)  # type: ignore[type-var]


class EngineOptions(Options, title="an exported network"):
    """An exported network, and the preprocessing for a file from another program."""

    engine: str | None = option(
        None,
        "file from tools/export.py, or an ONNX or OpenVINO file that takes colour images",
        metavar="FILE",
        common=True,
    )
    range: str | None = option(
        None,
        "values of the file's input (default: 0..1)",
        choices=("0..1", "0..255"),
        needs=OF_ENGINE,
    )
    mean: str | None = option(
        None,
        "mean to subtract, such as 0.485,0.456,0.406 (default for 0..1: ImageNet's)",
        form=three_numbers,
        needs=OF_ENGINE,
    )
    std: str | None = option(
        None,
        "deviation to divide by, such as 0.229,0.224,0.225 (default for 0..1: ImageNet's)",
        form=three_numbers,
        needs=OF_ENGINE,
    )
    feature_output: str | None = option(
        None,
        "the output that is the feature, if the file has several",
        form=printable_text,
        flags=("--output",),
        metavar="NAME",
        needs=OF_ENGINE,
    )
    bgr: bool = option(
        False, "the file takes the channels in the order blue, green, red", needs=OF_ENGINE
    )


class ExtractionOptions(Options, title="features"):
    """The batches of images, and the program that computes their features."""

    batchsize: int = option(256, "images per batch", range=POSITIVE, published=True, common=True)
    runtime: str | None = redeclared(RecordOptions, "runtime", None, needs={}, common=True)


class DecidedFeatures(Options, title="features"):
    """The feature options that an exported file determines."""

    ms: str = option(
        "1",
        "scales whose square roots resize the image, such as 1,1.1,1.2",
        published=True,
        alters=True,
    )
    no_norm: bool = option(False, "keep the features' length; use Euclidean distance")


class FeatureOptions(PrecisionOptions, DecidedFeatures, ExtractionOptions):
    """All options for computing features from images."""

    no_flip: bool = option(False, "skip the mirrored image", alters=True)


class FittedFeatures(Options, title="features"):
    """The changes to the features of the tested images."""

    adapt_bn: bool = option(False, "use batch-norm statistics of the gallery's images", alters=True)
    tracks: bool = option(
        False, "one feature for each tracklet, the mean of its frames", alters=True
    )
    camera_norm: str | None = option(
        None,
        "give the features of every camera the same mean; standardise: also the same deviation",
        choices=("center", "standardise"),
        bare="center",
        alters=True,
    )
    whiten: bool = option(False, "make the features' dimensions uncorrelated", alters=True)


class TestFiles(Options, title="data"):
    """The images to test, and the files to write."""

    test_dir: str = option(
        "../Market/pytorch",
        "folder that prepare.py laid out",
        flags=("--test_dir", "--data_dir"),
        published=True,
        common=True,
    )
    multi: bool = option(
        False,
        "also evaluate multiple queries, the images of the split multi-query",
        published=True,
        common=True,
    )
    result: str = option(
        "pytorch_result.mat",
        "file to write the features to",
        form=file_ending_in(".mat"),
        metavar="FILE",
        common=True,
    )
    json: str | None = option(
        None, "also write the metrics to a file", form=file_ending_in(".json"), metavar="FILE"
    )


class TestConfig(FittedFeatures, FeatureOptions, EngineOptions, TrainedNetwork, TestFiles):
    """All options of test.py."""

    __test__ = False  # otherwise pytest would take a class of this name for tests

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if self.engine and self.adapt_bn:
            return "engine has no batch norms left to adapt: leave adapt_bn out."
        if self.no_norm and (unit := self.not_default(("camera_norm", "whiten", "tracks"))):
            given = ", ".join(unit)
            return f"{given} gives features unit length, and no_norm keeps theirs: choose one."
        return ""


OF_RUN = tuple(RunToTest.declared())
OF_FILE = tuple(FileToTest.declared())
DESCRIPTION = tuple(Description.declared())
# Options that an exported file has decided, and options that a file from another program may need.
DECIDED = ("from_run", *OF_RUN, *OF_FILE, *DESCRIPTION, *DecidedFeatures.declared())
PREPARED = (
    *SizeToTest.declared(),
    *(name for name in EngineOptions.declared() if name != "engine"),
)
# Features with different values of these cannot be compared.
ALTERING = tuple(name for name, each in TestConfig.declared().items() if each.about.alters)


def parse_scales(text: str) -> list[float]:
    """Return the resize factors for --ms: the square roots of areas such as "1,1.1,1.2".

    Raises UserError if one is not a number from SMALLEST_AREA to LARGEST_AREA.
    """
    areas = listed_numbers(text, float)
    if not areas or not all(SMALLEST_AREA <= area <= LARGEST_AREA for area in areas):
        raise UserError(
            f"ms={text}: expected numbers from {SMALLEST_AREA} to {LARGEST_AREA}, "
            "separated by commas, such as 1,1.1,1.2"
        )
    return [area**0.5 for area in areas]
