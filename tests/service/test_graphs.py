"""Every graph over every surface: one declaration, the same answer each way."""

import json
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pyarrow.parquet
import pytest

from graphs import GRAPHS
from serve_app.clients.http import events
from serve_app.graph import Graph
from tests.media.real_speech import words

from .live import Live
from .samples import NO_MODEL_HERE, SPOKEN, Samples, from_url, opened

ANSWERED = [graph for graph in GRAPHS if graph.name not in NO_MODEL_HERE]
ALL = pytest.mark.parametrize("graph", ANSWERED, ids=lambda graph: graph.name)


def check(graph: Graph[..., Any], result: dict[str, Any]) -> None:
    """The result is what the graph declares, and really has something in it."""
    graph.result.model_validate(result)
    match graph.name:
        case "chat" | "transcription":
            assert result["text"].strip()
        case "embeddings":
            assert [len(vector) for vector in result["vectors"]] == [384, 384]
        case "reranking":
            assert [one["index"] for one in result["results"]] == [0, 1]
        case "voice_activity":
            (stretch,) = result["stretches"]
            assert 0 <= stretch["start"] < stretch["end"] <= result["seconds"]
        case "image_text":
            assert result["text"] == "Medley reads"
        case "prompt_enhancement":
            assert len(result["prompt"]) > 10
        case "image_generation":
            assert all(opened(image).size == (256, 256) for image in result["images"])
        case "image_edit" | "image_vary" | "image_inpaint":
            assert opened(result["image"]).size == (120, 80)
        case "story":
            assert len(result["scenes"]) == 2 and all("fox" in scene for scene in result["scenes"])
        case "lesson":
            assert len(result["points"]) == 2
        case "speech" | "voice_assistant":
            assert len(from_url(result["audio"])) > 10_000
        case "speech_to_image" | "image_orchestration":
            if graph.name == "speech_to_image":
                assert words(result["transcript"]) == SPOKEN["text"]
            else:
                assert result["category"] == "abstract"
            picture = opened(result["image"]).convert("RGB")
            assert picture.size == (256, 256)
            red, _, blue = cast(tuple[int, int, int], picture.getpixel((128, 128)))  # a red circle ...
            assert red > 2 * blue
            red, _, blue = cast(tuple[int, int, int], picture.getpixel((10, 10)))  # ... on blue
            assert blue > 2 * red
        case "smart_mask":
            mask = opened(result["mask"])
            assert mask.size == (120, 80)
            assert mask.getpixel((60, 40)) == 255
            assert mask.getpixel((5, 5)) == 0
        case "image_resize":
            assert opened(result["image"]).size == (60, 40)
        case "image_crop" | "image_extract_object":
            width, height = opened(result["image"]).size
            assert 40 <= width <= 42
            assert 40 <= height <= 42
        case "image_encode":
            assert opened(result["image"]).format == "JPEG"
        case "image_canny":
            assert opened(result["image"]).convert("L").getextrema() == (0, 255)
        case "image_upscale":
            assert opened(result["image"]).size == (480, 320)
        case "image_background":
            picture = opened(result["image"])
            assert (picture.mode, picture.size) == ("RGBA", (120, 80))
            alpha = picture.getchannel("A")
            assert (alpha.getpixel((60, 40)), alpha.getpixel((5, 5))) == (255, 0)
        case "image_stylize":
            picture = opened(result["image"])
            red, _, blue = cast(tuple[int, int, int], picture.getpixel((5, 5)))  # it was grey
            assert picture.size == (120, 80) and abs(red - blue) > 20
        case "image_reconstruct":
            picture = opened(result["image"]).convert("RGB")
            red, _, blue = cast(tuple[int, int, int], picture.getpixel((60, 40)))  # the disc is gone
            assert picture.size == (120, 80) and red < 2 * blue
        case "image_translation":
            picture = opened(result["image"])
            assert picture.size == (120, 80) and np.asarray(picture.convert("L")).mean() < 150  # it was 199
        case other:
            raise AssertionError(f"say here what a good result of {other} is")


def test_every_graph_has_a_sample(samples: Samples) -> None:
    assert set(samples.requests) == {graph.name for graph in GRAPHS}


@pytest.mark.parametrize("name", sorted(NO_MODEL_HERE))
def test_what_no_model_here_can_do_is_said(name: str, client: httpx.Client, samples: Samples) -> None:
    answer = client.post(f"/api/v1/graphs/{name}", json=samples.json(name))
    assert answer.status_code == 503, answer.text
    assert answer.json()["type"].endswith("model-unavailable")


@ALL
def test_json(graph: Graph[..., Any], client: httpx.Client, samples: Samples) -> None:
    answer = client.post(f"/api/v1/graphs/{graph.name}", json=samples.json(graph.name))
    assert answer.status_code == 200, answer.text
    check(graph, answer.json())
    assert answer.headers["server-timing"].count("dur=") >= 1


@ALL
def test_form(graph: Graph[..., Any], client: httpx.Client, samples: Samples) -> None:
    answer = client.post(f"/api/v1/graphs/{graph.name}", files=samples.form(graph.name))
    assert answer.status_code == 200, answer.text
    check(graph, answer.json())


@ALL
def test_events(graph: Graph[..., Any], client: httpx.Client, samples: Samples) -> None:
    headers = {"accept": "text/event-stream"}
    with client.stream(
        "POST", f"/api/v1/graphs/{graph.name}", json=samples.json(graph.name), headers=headers
    ) as answer:
        assert answer.status_code == 200
        received = list(events(answer.iter_lines()))
    kind, result = received[-1]
    assert kind == "result", result
    check(graph, result)
    steps = [step for kind, step in received if kind == "step"]
    assert [step["status"] for step in steps].count("succeeded") == len({step["name"] for step in steps}) >= 1
    assert any(kind == "pieces" for kind, _ in received) == (graph.piece is not None)


@ALL
def test_command_line(graph: Graph[..., Any], live: Live, samples: Samples, output: Path) -> None:
    ran = live.medley("run", graph.name, *samples.command(graph.name), "--out", str(output))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    printed = dict(line.split(" ", 1) for line in ran.stdout.splitlines() if line and not line.startswith(" "))
    assert set(printed) == set(graph.result.model_fields)
    assert (output.exists() and any(output.iterdir())) == graph.makes_media


def test_batch_runs_every_graph_and_keeps_bad_rows(live: Live, samples: Samples, output: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    good = [samples.json("image_resize")] * 3
    (tmp_path / "disc.png").write_bytes(samples.requests["image_resize"]["image"].data)
    good.append({"image": "disc.png", "height": 20})
    bad = ["{", json.dumps({"image": "missing.png"}), json.dumps({**good[0], "widht": 3})]
    rows.write_text("\n".join([*(json.dumps(row) for row in good), *bad]) + "\n")
    ran = live.medley("batch", "image_resize", "--input", str(rows), "--output", str(output))
    assert ran.returncode == 1, ran.stdout + ran.stderr  # some rows were bad
    table = pyarrow.parquet.read_table(output / "rows").to_pylist()
    assert sorted(row["row"] for row in table) == [1, 2, 3, 4]
    sizes = {row["row"]: opened_file(row["image"]).size for row in table}
    assert sizes == {1: (60, 40), 2: (60, 40), 3: (60, 40), 4: (30, 20)}
    errors = [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]
    assert {error["row"]: error["error"]["type"] for error in errors} == {
        5: "invalid-input",
        6: "invalid-input",
        7: "invalid-request",
    }
    assert "Did you mean 'width'?" in errors[-1]["error"]["detail"]


def opened_file(path: str) -> Any:
    from PIL import Image

    return Image.open(path)


def test_handles(live: Live, samples: Samples, tmp_path: Path) -> None:
    """Over handles, in a process of its own: a process joins only one Ray."""
    import pickle
    import subprocess
    import sys

    script = (
        "import asyncio, pickle, sys\n"
        "from serve_app import Medley\n"
        "requests = pickle.load(sys.stdin.buffer)\n"
        "steps = []\n"
        "medley = Medley.connect(on_step=lambda step: steps.append(step.status))\n"
        "async def main():\n"
        "    return {name: (await getattr(medley.graphs, name)(**fields)).model_dump_json()\n"
        "            for name, fields in requests.items()}\n"
        "results = asyncio.run(main())\n"
        "assert steps.count('succeeded') >= len(requests) and 'failed' not in steps\n"
        "pickle.dump(results, open(sys.argv[1], 'wb'))\n"  # Ray may say something on the standard output
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "results")],
        input=pickle.dumps({graph.name: samples.requests[graph.name] for graph in ANSWERED}),
        env=live.environment,
        capture_output=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    print(ran.stdout.decode())
    results = pickle.loads((tmp_path / "results").read_bytes())
    for graph in ANSWERED:
        check(graph, json.loads(results[graph.name]))
