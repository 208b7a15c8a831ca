"""Tiny networks with the inputs and outputs of PP-OCR's: dark blots are lines, and each reads as a letter."""

from pathlib import Path
from typing import Any

SEEN_WIDE = 8  # pixels of a column of the second network
JOINS = 65  # pixels: blots that are nearer are a line


def write_reader(folder: Path, letter: str = "d") -> Path:
    """Where a picture is dark the first network sees a line, and the second a `letter`."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def save(name: str, nodes: list, constants: dict, given: list, made: list, said: dict[str, str]) -> None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)]
        values = [numpy_helper.from_array(np.array(value), key) for key, value in constants.items()]
        graph = helper.make_graph(nodes, "reader", inputs, outputs, values)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, said)
        onnx.save(model, folder / name)

    node = helper.make_node
    folder.mkdir(exist_ok=True, parents=True)
    darkness = [node("ReduceMean", ["x"], ["light"], axes=[1], keepdims=1), node("Mul", ["light", "steep"], ["dark"])]
    wide: dict[str, Any] = {"kernel_shape": [1, JOINS], "pads": [0, JOINS // 2, 0, JOINS // 2]}
    finding = [*darkness, node("MaxPool", ["dark"], ["joined"], **wide), node("Sigmoid", ["joined"], ["y"])]
    save("detection.onnx", finding, {"steep": np.float32(-10)}, [1, 3, "h", "w"], [1, 1, "h", "w"], {})
    column: dict[str, Any] = {"kernel_shape": [48, SEEN_WIDE], "strides": [48, SEEN_WIDE]}
    reading = [
        *darkness,
        node("MaxPool", ["dark"], ["columns"], **column),
        node("Squeeze", ["columns", "rows"], ["one"]),
        node("Transpose", ["one"], ["each"], perm=[0, 2, 1]),
        node("MatMul", ["each", "classes"], ["scores"]),
        node("Add", ["scores", "never"], ["all"]),
        node("Softmax", ["all"], ["y"], axis=2),
    ]
    constants = {
        "steep": np.float32(-10),
        "rows": np.array([2], np.int64),
        "classes": np.array([[-1, 1, 0, 0]], np.float32),
        "never": np.array([0, 0, -50, -50], np.float32),
    }
    names = {"character": f"{letter}\nz\n"}
    save("recognition.onnx", reading, constants, [1, 3, 48, "w"], [1, "t", 4], names)
    return folder
