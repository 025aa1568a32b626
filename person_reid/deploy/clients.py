"""Write a network to a file that an unmodified tracking program can load.

    contents = contents_for("ultralytics", (256, 128), network, "osnet_x0_25")
    export_for("ultralytics", network, contents, "osnet_x0_25_ultralytics.onnx")
    print(lines_for("ultralytics", contents, "osnet_x0_25_ultralytics.onnx"))

Each program prepares crops in its own way, as described in CLIENTS. The file contains the steps
that the program omits. All files take float32 batches of any size and return features of unit
length, without adding the mirrored image's feature.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from person_reid.deploy.engine import Engine
from person_reid.deploy.export import (
    TOLERANCE_OF_DTYPE,
    check_deviation,
    deviation,
    export,
    references,
)
from person_reid.deploy.exported_files import Contents, import_runtime
from person_reid.files import atomic_write
from person_reid.models.network import Network
from person_reid.retrieval.features import fused_embedding


class Client(NamedTuple):
    """A tracker: how it prepares images of people for a network, and the settings to give it.

    place: where the lines belong.
    lines: the settings; {path}, {dim}, {height} and {width} are replaced by the file's values.
    up_to, bgr, normalised: the images that the tracker passes on, as in Contents; by default,
    ImageNet-normalised RGB images.
    ending: how the file's name ends.
    """

    place: str
    lines: tuple[str, ...]
    up_to: int = 0
    bgr: bool = False
    normalised: bool = False
    ending: str = ".onnx"


CLIENTS = {
    "boxmot": Client(
        "Python, with boxmot",
        ("from boxmot import BotSort", 'tracker = BotSort(reid_weights="{path}")'),
    ),
    "ultralytics": Client(
        "your copy of botsort.yaml", ("with_reid: True", "model: {path}"), up_to=1
    ),
    "deepsort": Client(
        "Python, with DeepSort(embedder=None) of deep_sort_realtime",
        (
            'embed = person_reid.Embedder("{path}")',
            "tracks = tracker.update_tracks(detections, "
            "embeds=embed.crops(frame, boxes, bgr=True))",
        ),
        normalised=True,
    ),
    "deepstream": Client(
        "the tracker's configuration, section ReID",
        (
            "onnxFile: {path}",
            "reidFeatureSize: {dim}",
            "inferDims: [3, {height}, {width}]",
            "offsets: [0, 0, 0]",
            "netScaleFactor: 1.0",
            "inputOrder: 0",
            "colorFormat: 0",
            "keepAspc: 0",
        ),
        up_to=255,
    ),
    "openvino": Client(
        "Python",
        (
            'network = openvino.Core().compile_model("{path}", "CPU")',
            "features = network(people)[0]  # float32 (B, 3, {height}, {width}), BGR, 0 to 255",
        ),
        up_to=255,
        bgr=True,
        ending=".xml",
    ),
}


def contents_for(name: str, size: tuple[int, int], network: Network, source: str) -> Contents:
    """Return a description of the input and output of the file for a client.

    size: (height, width) of the network's images.
    """
    client = CLIENTS[name]
    return Contents(
        *size,
        network.dim,
        network.pieces,
        source,
        normalised=client.normalised,
        l2=True,
        up_to=client.up_to,
        bgr=client.bgr,
    )


def lines_for(name: str, contents: Contents, path: str | Path) -> str:
    """Return the settings that make a client use the file, and where they belong."""
    client = CLIENTS[name]
    facts = {
        "path": Path(path).as_posix(),
        "dim": contents.dim,
        "height": contents.height,
        "width": contents.width,
    }
    return "\n".join(
        [f"In {client.place}:", *(f"  {line.format(**facts)}" for line in client.lines)]
    )


def export_for(name: str, network: Network, contents: Contents, path: Path) -> float:
    """Write and check the file for a client, as `export` does, with the same result and errors."""
    if CLIENTS[name].ending == ".xml":
        return _export_openvino(network, contents, path)
    return export(network, contents, path, "onnx")


def _export_openvino(network: Network, contents: Contents, path: Path) -> float:
    """Write `path`, which ends in .xml, and its weights beside it in a .bin file."""
    openvino, weights = import_runtime("openvino"), path.with_suffix(".bin")
    with atomic_write(path) as new_path, atomic_write(weights) as new_weights:
        new_path.touch()  # fails before the work if the folder is not writable
        new_weights.touch()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            onnx, written = Path(folder) / "network.onnx", Path(folder) / "network.xml"
            export(network, contents, onnx, "onnx")
            openvino.save_model(openvino.Core().read_model(onnx), written, compress_to_fp16=False)
            expected = references(fused_embedding(network, torch.device("cpu")), contents)
            found = deviation(Engine(written), expected)
            new_path.write_bytes(written.read_bytes())
            new_weights.write_bytes(written.with_suffix(".bin").read_bytes())
        check_deviation(
            path,
            "run by OpenVINO,",
            found,
            TOLERANCE_OF_DTYPE["float32"],
            "Export to ONNX instead: leave --for out.",
        )
    return found
