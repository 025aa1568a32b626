"""Networks of Intel's family in OpenVINO's format, written here with random constants."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def random_constants(width=0.25, seed=0):
    """Return [(name, array)] in a file's order; only layers without a norm keep their names."""
    random = np.random.default_rng(seed)
    constants = [
        ("", np.reshape(MEAN, (1, 3, 1, 1))),
        ("", 1 / np.reshape(DEVIATION, (1, 3, 1, 1))),
    ]

    def add(*shape, name="", scale=1.0, offset=0.0):
        constants.append((name, offset + scale * random.standard_normal(shape)))

    def kernel(outputs, inputs, side=1, name=""):
        add(outputs, inputs, side, side, name=name, scale=(2 / (inputs * side**2)) ** 0.5)

    def norm(channels):
        add(1, channels, 1, 1, scale=0.1, offset=1)
        add(1, channels, 1, 1, scale=0.3)

    def folded(outputs, inputs):
        kernel(outputs, inputs)
        add(1, outputs, 1, 1, scale=0.3)

    def lite(channels, name):
        kernel(channels, channels, name=f"{name}.conv1.weight")
        add(channels, 1, 1, 3, 3, scale=0.5)
        add(1, channels, 1, 1, scale=0.3)

    def block(inputs, outputs, name, context):
        channels = outputs // 4
        folded(channels, inputs)
        lite(channels, f"{name}.conv2a")
        if context:
            norm(channels)
        else:
            kernel(channels // 16, channels, name=f"{name}.gate.fc1.weight")
            add(1, channels // 16, 1, 1)
            kernel(channels, channels // 16, name=f"{name}.gate.fc2.weight")
            add(1, channels, 1, 1)
        for stream in ("conv2b.0", "conv2b.1", "conv2c.0", "conv2c.1", "conv2c.2"):
            lite(channels, f"{name}.{stream}")
        for number in range(4):
            lite(channels, f"{name}.conv2d.{number}")
        folded(outputs, channels)
        if not context:
            folded(outputs, inputs)

    stem, *stages = (int(width * channels) for channels in (64, 256, 384, 512))
    norm(3)
    kernel(stem, 3, 7, name="conv1.conv.weight")
    norm(stem)
    inputs = stem
    for number, outputs in enumerate(stages, 2):
        block(inputs, outputs, f"conv{number}.0", context=False)
        block(outputs, outputs, f"conv{number}.1", context=True)
        folded(outputs, outputs)  # after the last stage, it is conv5
        inputs = outputs
    add(inputs, 1, 1, 16, 8, scale=0.05)
    add(1, inputs, 1, 1)
    add(256, inputs, name="fc.0.weight", scale=inputs**-0.5)
    add(1, 256)
    add(1, 256, 1, scale=0.1, offset=1)
    add(1, 256, 1)
    constants.append(("", np.full((1, 1), 0.2)))
    return [(name, array.astype(np.float32)) for name, array in constants]


def write_openvino(path: Path, constants, half=False):
    """Write the .xml, with constants alone, and the .bin beside it. half: in half precision."""
    layers = ElementTree.SubElement(net := ElementTree.Element("net", version="11"), "layers")
    content, dtype = b"\0" * 12, np.float16 if half else np.float32
    for number, (name, array) in enumerate(constants):
        label = (name or f"Constant_{number}") + ("_compressed" if half else "")
        about = {
            "element_type": "f16" if half else "f32",
            "shape": ", ".join(map(str, array.shape)),
            "offset": str(len(content)),
            "size": str(array.size * np.dtype(dtype).itemsize),
        }
        layer = ElementTree.SubElement(layers, "layer", id=str(number), name=label, type="Const")
        ElementTree.SubElement(layer, "data", about)
        content += array.astype(dtype).tobytes()
    path.write_bytes(ElementTree.tostring(net))
    path.with_suffix(".bin").write_bytes(content)
    return path
