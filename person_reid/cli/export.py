"""Write a trained network to one file that runs without this code: ONNX, TorchScript or
torch.export.

    python tools/export.py --name ft_ResNet50 --output reid.onnx
    python tools/export.py --backbone osnet_x0_25 --weights osnet.pth --output osnet.onnx \\
      --normalise_input --flip --l2
    python tools/export.py --name ft_ResNet50 --output fast.onnx --int8 \\
      --calibrate ../Market/pytorch/train
    python tools/export.py --name ft_ResNet50 --for boxmot  # the file that a tracker loads as it is
    python test.py --engine reid.onnx                       # the same figures from the file

The file takes batches of any size and is compared with PyTorch before it is kept. Its input is RGB
at the size that is
printed: float32 (B, 3, H, W) with ImageNet's normalisation, or with --normalise_input uint8 (B, H,
W, 3).
"""

from argparse import Namespace
from pathlib import Path

from person_reid.basics import UserError
from person_reid.cli.flags import add_tested_network, testing_parser
from person_reid.cli.parser import Parser
from person_reid.cli.tested import open_embedder, tested_network, title
from person_reid.cli.values import output_path
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.clients import CLIENTS, contents_for, export_for, lines_for
from person_reid.deploy.export import export, tensorrt_advice
from person_reid.deploy.interface import Contents
from person_reid.deploy.load import TestedNetwork, load_network
from person_reid.deploy.publish import query_and_gallery
from person_reid.deploy.quantise import read_calibration
from person_reid.deploy.run import EXPORT_FORMATS, file_size
from person_reid.retrieval.metrics import evaluate

DECIDED_BY_CLIENT = (
    "format",
    "normalise_input",
    "flip",
    "l2",
    "fp16",
    "int8",
    "calibrate",
    "tensorrt",
)


def main(argv: list[str] | None = None) -> None:
    """Export a network, and compare its accuracy before and after if --test_dir is given."""
    options = parse(argv)
    check_test_sets([options.test_dir] if options.test_dir else [])
    tested = tested_network(options)
    write = write_for_client if options.client else write_file
    path = write(options, tested)
    if options.test_dir:
        file_flags = ["--engine", str(path), "--gpu_ids", options.gpu_ids]
        compare(options, testing_parser().parse_args(file_flags))


def write_file(options: Namespace, tested: TestedNetwork) -> Path:
    """Write the file that the flags describe, say what it is, and return its path."""
    kind, path = chosen_format(options)
    check_outputs(options, [tested.weights], output=[path])
    network, (height, width) = load_network(tested), tested.size
    contents = Contents(
        height, width, network.dim, network.pieces, title(options),
        options.normalise_input, options.flip, options.l2,
        "float16" if options.fp16 else "int8" if options.int8 else "float32", options.tensorrt,
    )  # fmt: skip
    calibration = read_calibration(options.calibrate, height, width) if options.calibrate else None
    deviation = export(network, contents, path, kind, calibration)
    # measured on noise, which no range covers
    say(path, contents, None if options.calibrate else deviation)
    if options.int8 and not options.calibrate:
        print(
            "int8 without --calibrate: a small file, but slower on most "
            "CPUs. For speed: --calibrate FOLDER"
        )
    if options.tensorrt:
        print(tensorrt_advice(path, contents))
    return path


def write_for_client(options: Namespace, tested: TestedNetwork) -> Path:
    """Write the file that the program of --for loads, say what to type
    there, and return the file's path.
    """
    ending = CLIENTS[options.client].ending
    path = options.output or Path(
        f"{Path(tested.spec.backbone or '').name}_{options.client}{ending}"
    )
    if path.suffix != ending:
        raise UserError(
            f"--output {path}: expected a name that ends in {ending}, for {options.client}."
        )
    beside = path.with_suffix(".bin") if ending == ".xml" else None  # the weights
    check_outputs(options, [tested.weights], output=[path, beside])
    if beside:
        check_beside("output", path, beside)
    network = load_network(tested)
    contents = contents_for(options.client, tested.size, network, title(options))
    say(path, contents, export_for(options.client, network, contents, path))
    print(lines_for(options.client, contents, path))
    return path


def say(path: Path, contents: Contents, deviation: float | None) -> None:
    """Print what a file takes, what it returns, how large it is and how far it is from PyTorch."""
    size = file_size(path) / 1e6
    print(f"{path}: {contents.takes} → (B, {contents.dim}), {contents.precision}, {size:.1f} MB")
    if deviation is not None:
        print(f"against PyTorch: the features deviate by {deviation:.1e} of their scale")


def parse(argv: list[str] | None) -> Namespace:
    """Return the options.

    Raises UserError for flags that exclude each other or would be ignored.
    """
    parser = Parser(__doc__)
    add_tested_network(parser)
    file = parser.add_argument_group("the file")
    file.add_argument(
        "--for",
        dest="client",
        choices=CLIENTS,
        help="write the file that this program loads as it is",
    )
    file.add_argument(
        "--output",
        type=output_path,
        metavar="FILE",
        help="ends in .onnx, .pt (torchscript) or .pt2 (export)",
    )
    file.add_argument(
        "--format",
        choices=EXPORT_FORMATS.values(),
        help="default: by the ending of --output, or onnx",
    )
    file.add_argument(
        "--normalise_input",
        action="store_true",
        help="take uint8 images: normalise inside the file",
    )
    file.add_argument(
        "--flip",
        action="store_true",
        help="add the mirrored image's feature inside, as test.py does",
    )
    file.add_argument(
        "--l2", action="store_true", help="scale the features to unit length inside the file"
    )
    file.add_argument("--fp16", action="store_true", help="store and compute in float16")
    file.add_argument("--int8", action="store_true", help="store the weights in 8 bits, ONNX only")
    file.add_argument(
        "--calibrate", metavar="DIR", help="images for --int8 that also computes in 8 bits: fast"
    )
    file.add_argument(
        "--tensorrt", action="store_true", help="for TensorRT: print the trtexec command, ONNX only"
    )
    file.add_argument(
        "--test_dir", help="compare the file's accuracy with the network's on this test set"
    )
    options = parser.parse_args(argv)
    decided = [f"--{name}" for name in DECIDED_BY_CLIENT if getattr(options, name)]
    if options.client and decided:
        raise UserError(f"--for {options.client} decides {', '.join(decided)}: leave that out.")
    if options.fp16 and options.int8:
        raise UserError("--fp16 and --int8 exclude each other: choose one.")
    if options.calibrate and not options.int8:
        raise UserError(f"--calibrate {options.calibrate} would be ignored: it needs --int8.")
    return options


def chosen_format(options: Namespace) -> tuple[str, Path]:
    """Return the kind of file to write, and its path.

    Raises UserError if --format and --output disagree.
    """
    suffixes = {kind: suffix for suffix, kind in EXPORT_FORMATS.items()}
    name = Path(getattr(options, "from") or options.backbone or options.name).name
    path = options.output or Path(f"{name}{suffixes[options.format or 'onnx']}")
    kind = EXPORT_FORMATS.get(path.suffix.lower())
    if kind is None or options.format not in (None, kind):
        expected = suffixes[options.format] if options.format else ", ".join(EXPORT_FORMATS)
        raise UserError(f"--output {path}: expected a name that ends in {expected}.")
    if kind != "onnx" and (options.int8 or options.tensorrt):
        raise UserError(f"--format {kind}: --int8 and --tensorrt need --format onnx.")
    return kind, path


def compare(network_options: Namespace, file_options: Namespace) -> None:
    """Print the figures of the network and of the file."""
    plain = testing_parser().parse_args([])
    shared = {name: value for name, value in vars(network_options).items() if name in vars(plain)}
    # export's --fp16 concerns the file
    plain = Namespace(**(vars(plain) | shared | {"fp16": False}))
    for name, options in (("network", plain), ("file", file_options)):
        query, gallery = query_and_gallery(open_embedder(options), network_options.test_dir)
        print(evaluate(query, gallery).line(f"{name:8}"))
