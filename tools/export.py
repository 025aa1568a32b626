# PYTHON_ARGCOMPLETE_OK
"""Write a trained network to a self-contained ONNX, TorchScript or torch.export file.

    python tools/export.py --name ft_ResNet50 --output reid.onnx
    python tools/export.py --backbone osnet_x0_25 --weights osnet.pth --output osnet.onnx \\
      --normalise_input --flip --l2
    python tools/export.py --name ft_ResNet50 --output fast.onnx --int8 \\
      --calibrate ../Market/pytorch/train
    python tools/export.py --name ft_ResNet50 --for boxmot  # a file that a tracker loads unchanged
    python test.py --engine reid.onnx                       # the same metrics from the file

The file takes batches of any size, and is compared with PyTorch before it is kept. Its input is RGB
at the printed size: float32 (B, 3, H, W) with ImageNet's normalisation, or with --normalise_input
uint8 (B, H, W, 3).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import output_path
from person_reid.config.option import Options, option
from person_reid.config.tested import EXPORT_FORMATS, TestConfig, TrainedNetwork
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.clients import CLIENTS, contents_for, export_for, lines_for
from person_reid.deploy.export import export, read_calibration, tensorrt_advice
from person_reid.deploy.exported_files import Contents, file_size
from person_reid.deploy.find import tested_network
from person_reid.deploy.load import load_network
from person_reid.deploy.network_names import title
from person_reid.deploy.publish import query_and_gallery

PROGRAMS = ("boxmot", "ultralytics", "deepsort", "deepstream", "openvino")
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


class ExportOptions(Options, title="the file"):
    """The file that a network is exported to."""

    client: str | None = option(
        None,
        "write a file that this program loads unchanged",
        choices=PROGRAMS,
        flags=("--for",),
        common=True,
    )
    output: str | None = option(
        None,
        "file to write: .onnx, .pt (torchscript) or .pt2 (export)",
        form=output_path,
        metavar="FILE",
        common=True,
    )
    format: str | None = option(
        None,
        "default: by the extension of --output, or onnx",
        choices=tuple(EXPORT_FORMATS.values()),
        common=True,
    )
    normalise_input: bool = option(
        False, "take uint8 images: normalise inside the file", common=True
    )
    flip: bool = option(
        False, "add the mirrored image's feature inside, as test.py does", common=True
    )
    l2: bool = option(False, "scale the features to unit length inside the file", common=True)
    fp16: bool = option(False, "store and compute in float16", common=True)
    int8: bool = option(False, "store the weights in 8 bits, ONNX only", common=True)
    calibrate: str | None = option(
        None,
        "images with which --int8 also computes in 8 bits, which is fast",
        metavar="DIR",
        needs={"int8": (True,)},
        common=True,
    )
    tensorrt: bool = option(
        False, "for TensorRT: print the trtexec command, ONNX only", common=True
    )
    test_dir: str | None = option(
        None, "compare the file's accuracy with the network's on this test set", common=True
    )


class ExportConfig(ExportOptions, TrainedNetwork):
    """All options of tools/export.py."""


def main(argv: list[str] | None = None) -> None:
    """Export a network, and compare its accuracy before and after if --test_dir is given."""
    config = parse(ExportConfig, argv, __doc__)
    check(config)
    tested = tested_network(config)
    write = write_for_client if config.client else write_file
    path = write(config, tested)
    if config.test_dir:
        compare(config, path)


def check(config: ExportConfig) -> None:
    """Raise an error if options conflict, or if a test set is missing."""
    if config.client and (decided := config.not_default(DECIDED_BY_CLIENT)):
        raise reid.UserError(f"for={config.client} decides {', '.join(decided)}: leave that out.")
    if config.fp16 and config.int8:
        raise reid.UserError("fp16 and int8 exclude each other: choose one.")
    check_test_sets([config.test_dir] if config.test_dir else [])


def write_file(config: ExportConfig, tested: reid.NetworkToTest) -> Path:
    """Write the file that the options describe, print a summary, and return its path."""
    kind, path = chosen_format(config)
    check_outputs(config, [tested.weights], output=[path])
    network, (height, width) = load_network(tested), tested.size
    contents = Contents(
        height=height,
        width=width,
        dim=network.dim,
        pieces=network.pieces,
        source=title(config),
        normalised=config.normalise_input,
        flip=config.flip,
        l2=config.l2,
        precision="float16" if config.fp16 else "int8" if config.int8 else "float32",
        tensorrt=config.tensorrt,
    )
    calibration = read_calibration(config.calibrate, height, width) if config.calibrate else None
    deviation = export(network, contents, path, kind, calibration)

    # The deviation is measured on noise, which no calibrated range covers.
    say(path, contents, None if config.calibrate else deviation)
    if config.int8 and not config.calibrate:
        advice = "For speed: --calibrate FOLDER"
        print(f"int8 without --calibrate: a small file, but slower on most CPUs. {advice}")
    if config.tensorrt:
        print(tensorrt_advice(path, contents))
    return path


def write_for_client(config: ExportConfig, tested: reid.NetworkToTest) -> Path:
    """Write the file that the program named by --for loads, and print the settings for it.

    Returns the file's path.
    """
    client = config.client or ""
    ending = CLIENTS[client].ending
    backbone = Path(tested.spec.backbone or "").name
    path = Path(config.output or f"{backbone}_{client}{ending}")
    if path.suffix != ending:
        raise reid.UserError(f"output={path}: expected a name that ends in {ending}, for {client}.")
    beside = path.with_suffix(".bin") if ending == ".xml" else None  # the weights
    check_outputs(config, [tested.weights], output=[path, beside])
    if beside:
        check_beside("output", path, beside)
    network = load_network(tested)
    contents = contents_for(client, tested.size, network, title(config))
    say(path, contents, export_for(client, network, contents, path))
    print(lines_for(client, contents, path))
    return path


def say(path: Path, contents: Contents, deviation: float | None) -> None:
    """Print a file's input and output, its size, and its deviation from PyTorch."""
    size = file_size(path) / 1e6
    print(f"{path}: {contents.takes} → (B, {contents.dim}), {contents.precision}, {size:.1f} MB")
    if deviation is not None:
        print(f"against PyTorch: the features deviate by {deviation:.1e} of their scale")


def chosen_format(config: ExportConfig) -> tuple[str, Path]:
    """Return the kind of file to write, and its path.

    Raises UserError if --format and --output disagree.
    """
    suffixes = {kind: suffix for suffix, kind in EXPORT_FORMATS.items()}
    named = Path(config.from_run or config.backbone or reid.run_of(config) or "").name
    path = Path(config.output or f"{named}{suffixes[config.format or 'onnx']}")
    kind = EXPORT_FORMATS.get(path.suffix.lower())
    if kind is None or config.format not in (None, kind):
        expected = suffixes[config.format] if config.format else ", ".join(EXPORT_FORMATS)
        raise reid.UserError(f"output={path}: expected a name that ends in {expected}.")
    if kind != "onnx" and (config.int8 or config.tensorrt):
        raise reid.UserError(f"format={kind}: int8 and tensorrt need format=onnx.")
    return kind, path


def compare(config: ExportConfig, path: Path) -> None:
    """Print the metrics of the network and of the exported file."""
    network = TestConfig(**{name: getattr(config, name) for name in TrainedNetwork.declared()})
    file = TestConfig(engine=str(path), gpu_ids=config.gpu_ids)
    for name, options in (("network", network), ("file", file)):
        query, gallery = query_and_gallery(reid.open_embedder(options), config.test_dir or "")
        print(reid.evaluate(query, gallery).line(f"{name:8}"))


if __name__ == "__main__":
    run_script(main)
