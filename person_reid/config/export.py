"""The options of tools/export.py and tools/save_pretrained.py."""

from person_reid.config.demo import THRESHOLD
from person_reid.config.forms import output_path
from person_reid.config.option import Options, option
from person_reid.config.tested import TrainedNetwork

EXPORT_FORMATS = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export"}  # by ending
READABLE = {**EXPORT_FORMATS, ".xml": "openvino"}  # files from which a network can be tested
PROGRAMS = ("boxmot", "ultralytics", "deepsort", "deepstream", "openvino")


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
        "default: by the ending of --output, or onnx",
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


class FolderOptions(Options, title="the folder"):
    """The folder that a network is saved in."""

    output: str = option(
        None, "the folder to write", form=output_path, metavar="FOLDER", required=True, common=True
    )
    test_dirs: tuple[str, ...] = option(
        (), "layouts to measure its accuracy on", metavar="DIR", several="+", common=True
    )
    half: bool = option(False, "store the weights in half precision", common=True)
    threshold: str | None = option(
        None,
        f"least similarity of one person's images: {THRESHOLD} (default: that of --from)",
        common=True,
    )


class SavePretrainedConfig(FolderOptions, TrainedNetwork):
    """All options of tools/save_pretrained.py."""
