"""What Open WebUI sends at its defaults (the bodies are read off its source, `backend/open_webui/routers`)."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deployments.audio import decode
from deployments.backend import WEIGHTS_FOLDER
from deployments.media import Audio
from tests.backends.harness import need
from tests.media.real_speech import recordings

from .live import Live
from .samples import opened

USER = {"X-OpenWebUI-User-Name": "Ada", "X-OpenWebUI-User-Id": "1", "X-OpenWebUI-User-Role": "admin"}


@pytest.fixture(scope="module")
def api(live: Live) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {live.key}", **USER}
    with httpx.Client(base_url=f"{live.url}/v1", headers=headers, timeout=120) as client:
        yield client


def test_the_models_are_listed(api: httpx.Client) -> None:
    models = api.get("/models").json()
    assert models["object"] == "list" and all(model["id"] for model in models["data"])


def test_a_chat_streams(api: httpx.Client) -> None:
    need("smollm2")
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"stream": True, "model": "smollm2", "messages": messages, "stream_options": {"include_usage": True}}
    with api.stream("POST", "/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "Paris" in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert chunks[-1]["usage"]["total_tokens"] > 10


def test_a_title_is_written(api: httpx.Client) -> None:
    need("smollm2")
    content = '### Task:\nGenerate a concise, 3-5 word title. JSON format: { "title": "your title" }\nUSER: Capitals?'
    body = {"model": "smollm2", "messages": [{"role": "user", "content": content}], "stream": False}
    answer = api.post("/chat/completions", json=body | {"max_completion_tokens": 100})
    assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"].strip()


def test_a_picture_is_painted(api: httpx.Client) -> None:
    body = {"model": "dall-e-2", "prompt": "a red circle on blue", "n": 1, "size": "512x512"}
    answer = api.post("/images/generations", json=body | {"response_format": "b64_json"})
    assert answer.status_code == 200, answer.text
    assert opened(f"data:image/png;base64,{answer.json()['data'][0]['b64_json']}").size == (512, 512)


def test_speech_both_ways(api: httpx.Client) -> None:
    spoken = api.post("/audio/speech", json={"model": "tts-1", "input": "Good morning.", "voice": "alloy"})
    assert spoken.status_code == 200 and spoken.headers["content-type"] == "audio/mpeg"
    assert len(decode(Audio(spoken.content, "audio/mpeg"), 16_000)) > 8000
    need("moonshine")
    *_, sound = recordings(Path(os.environ[WEIGHTS_FOLDER])).values()
    heard = api.post("/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", sound.data)})
    assert heard.status_code == 200 and "fail better" in heard.json()["text"].lower()


def test_documents_are_embedded_and_ranked(api: httpx.Client) -> None:
    need("minilm")
    texts = ["Paris is the capital of France.", "Bread is made of flour."]
    made = api.post("/embeddings", json={"input": texts, "model": "text-embedding-3-small"})
    assert made.status_code == 200 and [len(row["embedding"]) for row in made.json()["data"]] == [384, 384]
    body = {"model": "minilm-ranker", "query": "What is bread?", "documents": texts, "top_n": 2}
    ranked = api.post("/rerank", json=body)
    assert ranked.status_code == 200 and ranked.json()["results"][0]["index"] == 1
