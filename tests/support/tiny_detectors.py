"""Detectors in files that see one person, at PERSON, in every frame of 128×64 pixels."""

import numpy as np

SIDE = 64  # of the picture
PERSON = [32, 16, 64, 48]  # left, top, right, bottom in the frame
SURE, UNLIKELY = 0.9, 0.01
CELLS = 84  # of the grids of 8×8, 4×4 and 2×2 cells


def logit(share):
    return np.log(share / (1 - share))


def yolox():
    """A box at x 16 to 32, y 8 to 24 of the picture, whose lower half the frame leaves free."""
    values = np.zeros((1, CELLS, 5 + 2))
    values[0, 64 + 1] = [0.5, 1, 0, 0, 1, SURE, 0.1]  # in the second cell of stride 16
    values[0, 64 + 2] = [-0.5, 1, 0, 0, 1, 0.2, 0.1]  # the same box, less sure
    values[0, 80] = [0.5, 0.5, 0, 0, 1, 0, SURE]  # a dog
    return {"output": values}


def yolov8():
    """A box at x 16 to 32, y 24 to 40 of the picture, above and below which nothing is."""
    values = np.zeros((1, 4 + 2, CELLS))
    values[0, :, 5] = [24, 32, 16, 16, SURE, 0.1]
    values[0, :, 6] = [24, 32, 16, 15, 0.2, 0.1]
    values[0, :, 7] = [24, 32, 16, 16, 0.1, SURE]
    return {"output0": values}


def grid(columns):
    """Middles and sides in pixels of boxes in all cells, in which hardly anything is seen."""
    values = np.zeros((CELLS, columns))
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(0, SIDE, s) for x in range(0, SIDE, s)]
    values[:, :4] = [[x + s / 2, y + s / 2, s, s] for x, y, s in cells]
    return values


def yolox_decoded():
    """The box of yolox(), in pixels. 81 numbers follow it, and not the 80 scores of a YOLOv8."""
    values = grid(5 + 80)
    values[5, :7] = [24, 16, 16, 16, 1, SURE, 0.1]
    values[6, :7] = [24, 16, 16, 15, 1, 0.2, 0.1]
    values[7, :7] = [24, 16, 16, 16, 1, 0, SURE]
    return {"output": values[None]}


def yolov8_pose():
    """A person and 17 points of the body, each with x, y, and whether it is seen."""
    values = grid(5 + 17 * 3)
    values[:, 5:] = np.tile([40, 30, 0.5], 17)
    values[5, :5] = [24, 32, 16, 16, SURE]
    values[6, :5] = [24, 32, 16, 15, 0.2]
    return {"output0": values.T[None]}


def corners(values):
    half = values[:, 2:4] / 2
    return np.hstack([values[:, :2] - half, values[:, :2] + half, values[:, 4:]])


def deepstream():
    values = grid(6)
    values[5] = [24, 32, 16, 16, SURE, 0]
    values[6] = [24, 32, 16, 15, 0.2, 0]
    values[7] = [24, 32, 16, 16, SURE, 1]
    return {"output": corners(values)[None]}


def yolonas(top=16, height=16):
    values = grid(4 + 2)
    values[5] = [24, top, 16, height, SURE, 0]
    values[6] = [24, top, 16, height - 1, 0.2, 0]
    values[7] = [24, top, 16, height, 0, SURE]
    values = corners(values)[None]
    return {"boxes": values[..., :4], "scores": values[..., 4:]}


def damoyolo():
    found = yolonas(32, 32)
    return {"output": found["scores"], "952": found["boxes"]}


def yolov10():
    rows = [[16, 24, 32, 40, SURE, 0], [16, 24, 32, 40, SURE, 1], [0] * 6]
    return {"output0": np.array([rows])}


def rtdetr(classes=80, person=0):
    logits = np.full((1, 3, classes), logit(UNLIKELY))
    logits[0, 1, person] = logit(SURE)
    logits[0, 2, person + 1] = logit(SURE)
    return {"logits": logits, "pred_boxes": np.array([[[0.375, 0.5, 0.25, 0.5]] * 3])}


def rtdetr_ultralytics():
    """Middles and sides in fractions, scores, classes."""
    box = [0.375, 0.5, 0.25, 0.5]
    return {"output0": np.array([[[*box, SURE, 0], [*box, SURE, 1], *[[*box, 0.01, 0]] * 5]])}


def rtdetr_scores():
    box = [0.375, 0.5, 0.25, 0.5]
    return {
        "output0": np.array([[[*box, SURE, 0.1, 0], [*box, 0, SURE, 0], *[[*box, 0, 0, 0]] * 6]])
    }


def rfdetr():
    found = rtdetr(91, 1)
    return {"dets": found["pred_boxes"], "labels": found["logits"]}


FORMS = {
    each.__name__: each
    for each in (
        yolox,
        yolox_decoded,
        yolov8,
        yolov8_pose,
        deepstream,
        yolov10,
        yolonas,
        damoyolo,
        rtdetr,
        rtdetr_ultralytics,
        rtdetr_scores,
        rfdetr,
    )
}
# Where the score of the person is: output, place, and its unit in values of a picture.
SCORES = {
    "yolox": ("output", (0, 65, 5), 255),
    "yolov8": ("output0", (0, 4, 5), 1),
    "yolov10": ("output0", (0, 0, 4), 1),
    "rtdetr": ("logits", (0, 1, 0), 1),
    "rfdetr": ("labels", (0, 1, 1), 1),
}


def write_detector(
    path, form, outputs=None, measured=False, shape=None, further=(), bytes=False, last=False
):
    """Write an ONNX file.

    outputs: in place of the form's own. measured: the person's score is the mean of the first
    colour of the picture. shape: of the input; names stand for sides that are free. further: inputs
    that the detector wants besides. bytes: it takes values from 0 to 255, and divides them by 255.
    last: colours are the last axis.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = shape or ([1, SIDE, SIDE, 3] if last else [1, 3, SIDE, SIDE])
    nodes = [
        helper.make_node("Cast", ["picture"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["values", "first"], ["colour"], axis=3 if last else 1),
        helper.make_node("ReduceMean", ["colour"], ["mean"], keepdims=0),
    ]
    constants, shown = [numpy_helper.from_array(np.array(0), "first")], []
    for name, values in (outputs or FORMS[form]()).items():
        share = np.zeros(values.shape)
        if measured and name == SCORES[form][0]:
            _, place, unit = SCORES[form]
            share[place] = 1 / (255 if bytes else unit)
            values = np.where(share > 0, 0, values)
        for part, array in (("share", share), ("rest", values)):
            constants.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_{part}"))
        nodes.append(helper.make_node("Mul", ["mean", f"{name}_share"], [f"{name}_seen"]))
        nodes.append(helper.make_node("Add", [f"{name}_seen", f"{name}_rest"], [name]))
        shown.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    kind = TensorProto.UINT8 if bytes else TensorProto.FLOAT
    taken = [helper.make_tensor_value_info("picture", kind, shape)]
    taken += [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 2]) for name in further]
    graph = helper.make_graph(nodes, "tiny", taken, shown, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def write_openvino(path, form):
    """Write an OpenVINO file, .xml, and its weights beside it."""
    import openvino

    source = write_detector(path.with_suffix(".onnx"), form)
    openvino.save_model(openvino.Core().read_model(str(source)), str(path), compress_to_fp16=False)
    return path
