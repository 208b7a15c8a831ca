"""A service whose language model is vLLM's, and `medley batch` beside it: Ray Data and vLLM in one environment.

The starter writer's weights, on vLLM's engine for CPUs: `make test-engines` runs this.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .live import Live, profile_document, started

WISHES = [f"a small {colour} {shape}" for colour in ("red", "green", "blue") for shape in ("square", "fox")]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Medley with one model."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed here: `make test-engines` runs this test")
    document = profile_document()
    application = document["applications"][0]
    application["args"]["models"] = [{"name": "writer", "backend": "vllm"}]
    writer = {"weights": "starter/writer", "dtype": "float32", "enforce_eager": True}
    application["deployments"] = [
        {"name": "gateway", "ray_actor_options": {"num_cpus": 0.2}},
        {"name": "writer", "ray_actor_options": {"num_cpus": 1}, "user_config": writer},
    ]
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with started(tmp_path_factory.mktemp("home"), path) as running:
        yield running


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 48, **more}


def test_a_batch_of_prompts_is_answered_as_each_of_them_alone(service: Live, tmp_path: Path) -> None:
    import pyarrow.parquet

    wishes = [asked(f"Write a picture prompt for: {wish}") for wish in WISHES]
    requests = [*wishes, asked("Which colour?", json_schema=COLOUR), asked("Hello", max_tokenz=1)]
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "output"
    prompts.write_text("\n".join(json.dumps(request) for request in requests))
    ran = service.medley("batch", "chat", "--input", str(prompts), "--output", str(output))
    assert ran.returncode == 1, ran.stdout + ran.stderr  # for the last row
    table = pyarrow.parquet.read_table(output / "rows").to_pylist()
    texts = {row["row"]: row["text"] for row in table}
    assert sorted(texts) == list(range(1, len(requests)))
    with service.client() as client:
        for number, (wish, request) in enumerate(zip(WISHES, wishes, strict=True), 1):
            answer = client.post("/v1/chat/completions", json={"model": "writer", **request})
            assert answer.status_code == 200, answer.text
            assert texts[number] == answer.json()["choices"][0]["message"]["content"]
            assert wish.removeprefix("a ") in texts[number]
    assert json.loads(texts[len(wishes) + 1])["colour"] in ("red", "blue")
    (bad,) = [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]
    assert (bad["row"], bad["error"]["type"]) == (len(requests), "invalid-request")
    assert "Did you mean 'max_tokens'?" in bad["error"]["detail"]
