"""A tiny network with the inputs and outputs of Kokoro's: a tone for as long as there are symbols."""

import json
import string
from pathlib import Path

VOICES = ("af_low", "bm_high")
SECONDS = 0.06  # of a symbol, at speed 1


def write_kokoro(folder: Path, seconds: float = SECONDS) -> Path:
    """A network whose sound's length follows the symbols and the speed, and whose pitch the voice; with two voices."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: float | int | list[int], kind: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, kind), name)

    nodes = [
        helper.make_node("Shape", ["tokens"], ["shape"], start=1, end=2),
        helper.make_node("Cast", ["shape"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["count", "samples"], ["long"]),
        helper.make_node("Div", ["long", "speed"], ["length"]),
        helper.make_node("Squeeze", ["length", "axis"], ["end"]),
        helper.make_node("Range", ["zero", "end", "one"], ["ramp"]),
        helper.make_node("ReduceMean", ["style", "sides"], ["pitch"], keepdims=0),
        helper.make_node("Mul", ["ramp", "pitch"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["tone"]),
        helper.make_node("Mul", ["tone", "half"], ["audio"]),
    ]
    constants = [
        constant("samples", seconds * 24_000, np.float32),
        constant("axis", [0], np.int64),
        constant("sides", [0, 1], np.int64),
        constant("zero", 0.0, np.float32),
        constant("one", 1.0, np.float32),
        constant("half", 0.5, np.float32),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    outputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["m"])]
    graph = helper.make_graph(nodes, "tone", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(exist_ok=True, parents=True)
    onnx.save(model, folder / "model.onnx")
    symbols = ' ;:,.!?—…"()' + string.ascii_letters + "ɑɐəɚɛɜɪʊʌæɔθðŋɹʃʒʤʧˈˌːɡɾᵻɒ"
    (folder / "config.json").write_text(json.dumps({"vocab": {one: at for at, one in enumerate(symbols, 1)}}))
    for number, voice in enumerate(VOICES):
        np.full((510, 256), 0.1 + 0.1 * number, np.float32).tofile(folder / f"{voice}.bin")
    return folder
