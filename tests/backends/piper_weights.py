"""A tiny network with the inputs and outputs of Piper's: a tone for as long as there are phonemes."""

import json
import string
from pathlib import Path
from typing import Any

RATE = 22_050  # Hz
SECONDS = 0.03  # of a phoneme and of a blank, at speed 1
SPEAKERS = {"low": 0, "high": 1}


def write_piper(folder: Path, seconds: float = SECONDS, speakers: dict[str, int] | None = None) -> Path:
    """A network whose sound's length follows the phonemes and the speed, and whose pitch the speaker."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node, constants = helper.make_node, {"samples": np.float32(seconds * RATE), "axis": np.array([0])}
    constants |= {"zero": np.float32(0), "one": np.float32(1), "half": np.float32(0.5), "second": np.array([1])}
    constants |= {"pitches": np.array([0.1, 0.2], np.float32), "shape": np.array([1, 1, 1, -1])}
    nodes = [
        node("Cast", ["input_lengths"], ["count"], to=TensorProto.FLOAT),
        node("Gather", ["scales", "second"], ["slowness"]),
        node("Mul", ["count", "samples"], ["long"]),
        node("Mul", ["long", "slowness"], ["length"]),
        node("Squeeze", ["length", "axis"], ["end"]),
        node("Range", ["zero", "end", "one"], ["ramp"]),
        node("Gather", ["pitches", "sid" if speakers else "axis"], ["pitch"]),
        node("Mul", ["ramp", "pitch"], ["phase"]),
        node("Sin", ["phase"], ["tone"]),
        node("Mul", ["tone", "half"], ["quiet"]),
        node("Reshape", ["quiet", "shape"], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "m"])]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tone", inputs, outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(exist_ok=True, parents=True)
    onnx.save(model, folder / "voice.onnx")
    symbols = '_^$ ;:,.!?—…"()' + string.ascii_letters + "ɑɐəɚɛɜɪʊʌæɔθðŋɹʃʒʤʧˈˌːɡɾᵻɒ"
    said: dict[str, Any] = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.5, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(symbols)},
        "num_speakers": len(speakers or "1"),
        "speaker_id_map": speakers or {},
    }
    (folder / "voice.onnx.json").write_text(json.dumps(said))
    return folder
