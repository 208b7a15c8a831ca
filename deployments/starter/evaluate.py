"""Every figure of the starter models beside its target, measured on what no training saw."""

from collections.abc import Callable, Sequence

from ..backend import STARTER
from .figures import Row, at_least, at_most, console, info, save
from .pulled import kokoro, minilm, pp_ocr, smollm2

MOST_SHUFFLED = 0.25  # a judge that finds more than this in pictures of other prompts is no judge


def painter() -> list[Row]:
    """500 prompts of held-out combinations, the judge's own accuracy, edits, and one picture's time."""
    import torch
    from diffusers import StableDiffusionPipeline

    from .painter.measure import edits, report, seconds_a_picture

    folder = STARTER / "painter" / "weights"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    found = report(pipeline, 500)
    painted, truth, shuffled = (found[name] for name in ("painted", "true renderings", "shuffled prompts"))
    return [
        at_least("painter: shape and colour agree", painted["shape and colour"], 0.9, "of 500"),
        *(
            info(f"painter: {name} agrees", painted[name], "of 500")
            for name in ("background", "position", "size", "count")
        ),
        at_least("painter: everything agrees", painted["everything"], 0.85, "of 500"),
        at_least("painter: everything agrees, true renderings", truth["everything"], 0.98, "of 500"),
        at_most("painter: everything agrees, shuffled", shuffled["everything"], MOST_SHUFFLED, "of 500"),
        at_most(
            "painter: shape and colour agree, shuffled prompts", shuffled["shape and colour"], MOST_SHUFFLED, "of 500"
        ),
        *(info(f"painter: {task} agrees", share, "of 60") for task, share in edits(60).items()),
        at_most("painter: one picture", seconds_a_picture(pipeline), 1.5, "s"),
    ]


def writer() -> list[Row]:
    """300 held-out wishes, questions, and the speed of one stream."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .writer.measure import questions_right, speed, tales_told, wishes_kept

    folder = STARTER / "writer" / "weights"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
    kept, right = wishes_kept(model, tokenizer, 300), questions_right(model, tokenizer)
    told = tales_told(model, tokenizer, 100)
    return [
        at_least("writer: wishes that keep their subject", kept["wishes with every subject word"], 0.95, "of 300"),
        info("writer: subject words kept", kept["subject words kept"], "share"),
        *(info(f"writer: {name}", value, "share") for name, value in right.items()),
        *(at_least(f"writer: {name}", value, 0.95, "of 100") for name, value in told.items() if "formed" in name),
        *(info(f"writer: {name}", value, "share") for name, value in told.items() if "formed" not in name),
        at_least("writer: speed of one stream", speed(model, tokenizer), 40, "tokens/s"),
    ]


def translator() -> list[Row]:
    """200 held-out renderings each way, judged by pixel statistics, and the round trip."""
    from .translator.measure import report

    rows = list[Row]()
    for direction, found in report(STARTER / "translator" / "weights").items():
        rows += [
            at_least(f"translator: {direction}, in the right domain", found["translated"], 0.9, "of 200"),
            at_least(f"translator: {direction}, judge on true renderings", found["true renderings"], 0.98, "of 200"),
            at_most(f"translator: {direction}, judge on untranslated ones", found["untranslated"], 0.05, "of 200"),
            at_least(f"translator: {direction} and back", found["round trip dB"], 22, "dB"),
        ]
    return rows


def upscaler() -> list[Row]:
    """PSNR gained over bicubic, on held-out renderings and on scikit-image's photographs."""
    from transformers import Swin2SRForImageSuperResolution

    from .upscaler.measure import report

    rows = list[Row]()
    for scale in (2, 4):
        folder = STARTER / "upscaler" / "weights" / f"x{scale}"
        model = Swin2SRForImageSuperResolution.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
        gains = report(model)
        rows += [
            at_least(f"upscaler x{scale}: gain over bicubic, renderings", gains["renderings"], 1, "dB"),
            at_least(f"upscaler x{scale}: gain over bicubic, photographs", gains["photographs"], 0.3, "dB"),
        ]
    return rows


def restorer() -> list[Row]:
    """PSNR of the masked pixels of 360 held-out renderings, beside OpenCV's inpainting."""
    from transformers import ViTMAEForPreTraining

    from .restorer.measure import report

    folder = STARTER / "restorer" / "weights"
    found = report(ViTMAEForPreTraining.from_pretrained(folder, local_files_only=True, dtype="float32").eval())
    own, best = found["restorer"]["all"], max(found[name]["all"] for name in found if name.startswith("OpenCV"))
    return [
        info("restorer: masked pixels", own[0], "dB"),
        at_least("restorer: gain over the better OpenCV method", own[0] - best[0], 0, "dB"),
        at_least("restorer: the same, mean of the pictures' own PSNR", own[1] - best[1], 0, "dB"),
    ]


def ears() -> list[Row]:
    """Word error of PocketSphinx as it comes, and with noise floor and domain, over eSpeak's voices."""
    from .ears.measure import SURE, Bench, error_rate, trials

    own, ordinary = trials(Bench(), "measure")
    alone, floored, both = (error_rate(own, margin) for margin in (None, float("inf"), SURE))
    plain, mixed = (error_rate(ordinary, margin) for margin in (None, SURE))
    return [
        info(f"ears: word error on {len(own)} wishes and questions, stock model", alone, "share"),
        info("ears: the same, to the stock model's, with the noise floor and no domain", floored / alone, "ratio"),
        at_most(
            f"ears: word error on {len(own)} wishes and questions, to the stock model's", both / alone, 0.5, "ratio"
        ),
        at_most("ears: word error on ordinary speech, to the stock model's", mixed / plain, 1, "ratio"),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    part.__name__: part
    for part in (painter, writer, translator, upscaler, restorer, ears, smollm2, kokoro, minilm, pp_ocr)
}


def evaluate(names: Sequence[str] = ()) -> list[Row]:
    """Measure these parts, or all; print the table and write `.bench/starter.json`."""
    rows = list[Row]()
    for number, name in enumerate(names or PARTS, 1):
        console.print(f"{name}, {number} of {len(names or PARTS)}", style="dim")
        rows += PARTS[name]()
    save("starter", rows)
    return rows
