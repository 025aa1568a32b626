"""The flags of test.py. The published ones keep their names, defaults and abbreviations.

Those that describe a network are declared with the options of a training.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from person_reid.cli.parser import Parser
from person_reid.cli.values import devices, file_ending_in, positive, seed, side, some_name, three
from person_reid.config.network import NetworkOptions, PublishedNetworks
from person_reid.config.option import NAMED, Options, as_flag
from person_reid.config.published import NETWORK_FLAGS
from person_reid.config.run import RecordOptions
from person_reid.console.options import settings_of
from person_reid.run_folder import default_name, names_a_run

# The published flags; abbreviations that once named only one of them still do.
OF_TEST = (
    "gpu_ids", "which_epoch", "test_dir", "name", "batchsize", "linear_num", "use_dense",
    "use_efficient", "use_hr", "PCB", "multi", "fp16", "ibn", "ms", "usam",
)  # fmt: skip
# Those that decide which layers a network has.
SHAPE = ("PCB", "usam", "stride", "attention", "pool", "neck", "head", "linear_num")
# Flags of test.py that name a run, that name a weight file, and that describe the network of
# either.
NETWORK_OF_RUN = ("name", "which_epoch")
NETWORK_OF_FILE = ("backbone", "weights", "seed")
DESCRIPTION = (*NETWORK_FLAGS, *SHAPE)


class Unsaid(str):
    """The name of a run that no flag names; a flag may name the same run."""


def add_declared(
    group: argparse._ActionsContainer, kind: type[Options], names: Iterable[str]
) -> None:
    """Add flags as a training declares them; one that is not given is None, or False."""
    for name in names:
        each = kind.declared()[name]
        group.add_argument(f"--{name}", **settings_of(each) | {"help": each.about.help})


def testing_parser(text: str | None = "") -> Parser:
    """Return the parser of test.py. text: see Parser.

    The flags that describe a network are for a weight file; for a run they may only repeat what its
    opts.yaml says.
    """
    parser = Parser(text)
    parser.first_meant = frozenset(f"--{name}" for name in OF_TEST)
    data = parser.add_argument_group("data")
    data.add_argument(
        "--test_dir",
        "--data_dir",
        default="../Market/pytorch",
        help="folder that prepare.py laid out",
    )
    data.add_argument("--multi", action="store_true", help="also evaluate multiple queries")
    features_file, text = file_ending_in(".mat"), "file to write the features to"
    data.add_argument("--result", type=features_file, default=Path("pytorch_result.mat"), help=text)
    data.add_argument(
        "--json",
        type=file_ending_in(".json"),
        metavar="FILE",
        help="also write the figures to a file",
    )
    add_tested_network(parser)
    add_engine(parser)
    features = parser.add_argument_group("features")
    features.add_argument("--batchsize", type=positive(int), default=256, help="images per batch")
    add_runtime(features)
    features.add_argument(
        "--ms", default="1", help="scales whose square roots resize the image, such as 1,1.1,1.2"
    )
    features.add_argument("--no_flip", action="store_true", help="leave out the mirrored image")
    features.add_argument(
        "--no_norm", action="store_true", help="keep the features' length; use Euclidean distance"
    )
    features.add_argument("--fp16", action="store_true", help="extract in float16")
    features.add_argument("--bf16", action="store_true", help="extract in bfloat16")
    features.add_argument(
        "--adapt_bn", action="store_true", help="use batch-norm statistics of the gallery's images"
    )
    features.add_argument(
        "--camera_norm", nargs="?", const="center", choices=("center", "standardise"),
        help="give the features of every camera the same mean (with "
             "standardise, also the same deviation)",
    )  # fmt: skip
    features.add_argument(
        "--whiten", action="store_true", help="make the features' dimensions uncorrelated"
    )
    return parser


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """Add the flag that chooses what computes the features."""
    add_declared(parser, RecordOptions, ["runtime"])


def add_tested_network(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name a trained network: a run, or a weight file with
    the flags it was trained with.
    """
    parser.add_argument(
        "--gpu_ids",
        type=devices,
        default="0",
        help="GPU to use; -1 for the CPU, which is also used without a GPU",
    )
    run = parser.add_argument_group("network of a run")
    run.add_argument("--name", default=Unsaid(default_name()), help="name of the run")
    run.add_argument(
        "--which_epoch", default="last", help="last, average, average_bn, or an epoch such as 60"
    )
    file = parser.add_argument_group("network of a weight file")
    file.add_argument("--backbone", help="network of a weight file that belongs to no run")
    file.add_argument(
        "--weights", metavar="FILE", help="weight file of --backbone; none for random weights"
    )
    file.add_argument("--seed", type=seed, default=0, help="seed of the random weights")
    folder = parser.add_argument_group("network of a folder")
    text = (
        "from tools/save_pretrained.py, or owner/name on Hugging Face; the "
        "name of a run is taken for --name"
    )
    folder.add_argument("--from", action=From, metavar="FOLDER", help=text)
    described = parser.add_argument_group(
        "description of the network",
        "A run is described by model/NAME/opts.yaml; these flags must agree with it. "
        "A weight file is described by\n"
        "the flags: with --neck, --head or --linear_num its feature follows the neck, "
        "else it is the backbone's own.",
    )
    add_declared(described, NetworkOptions, SHAPE)
    add_declared(described, PublishedNetworks, NETWORK_FLAGS)
    both = parser.add_argument_group("size of the images")
    both.add_argument("--height", type=side, help="height of the images (default: the network's)")
    both.add_argument("--width", type=side, help="width of the images (default: the network's)")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name an exported network, and say what a file of another
    program does not say of itself.
    """
    group = parser.add_argument_group(
        "an exported network",
        "A file from tools/export.py, which describes itself, or an ONNX or OpenVINO "
        "file from elsewhere that takes\n"
        "colour images; if it leaves their size open, --height and --width give it.",
    )
    group.add_argument("--engine", metavar="FILE", help="the file to run")
    group.add_argument(
        "--range", choices=("0..1", "0..255"), help="values of the file's input (default: 0..1)"
    )
    group.add_argument(
        "--mean",
        type=three,
        help="to subtract, such as 0.485,0.456,0.406 (default for 0..1: ImageNet's)",
    )
    group.add_argument(
        "--std",
        type=three,
        help="to divide by, such as 0.229,0.224,0.225 (default for 0..1: ImageNet's)",
    )
    text = "the output that is the feature, if the file has several"
    group.add_argument("--output", dest="feature_output", type=some_name, metavar="NAME", help=text)
    group.add_argument(
        "--bgr",
        action="store_true",
        help="the file takes the channels in the order blue, green, red",
    )


class From(argparse.Action):
    """Store a folder to start from; the name of a run, which tools/adapt.py
    takes as well, is stored as --name.
    """

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the value."""
        setattr(namespace, "name" if names_a_run(values) else self.dest, values)


def given_values(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return {name: value} of the flags of test.py that differ from their defaults."""
    defaults = testing_parser().get_default
    values = {name: getattr(options, name) for name in names}
    said = {
        name for name, value in values.items() if name == "name" and not isinstance(value, Unsaid)
    }
    return {
        name: value for name, value in values.items() if name in said or value != defaults(name)
    }


def given_flags(options: argparse.Namespace, names: Iterable[str]) -> str:
    """Return the flags of test.py that differ from their defaults, as in "--stride, --pool"; "" if
    none do.
    """
    return ", ".join(as_flag(name, NAMED) for name in given_values(options, names))
