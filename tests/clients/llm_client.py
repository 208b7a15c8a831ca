"""`llm`, the command line."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .cells import CHAT, LONG, PERSON, QUESTION, READER, Refusal, Service, picture

REASONS = {
    "embeddings": "llm's own embedding models have OpenAI's address",
    "images": "llm has none",
    "speech_to_text": "llm has none",
    "text_to_speech": "llm has none",
    "tools_required": "llm has no choice of tools: `auto` always",
    "errors": "llm shows an error as text, tried under context overflow",
}


def _llm(
    service: Service, *arguments: str, name: str = CHAT, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        base = f"  api_base: {service.openai}\n  api_key_name: medley\n"
        models = f"- model_id: {CHAT}\n  model_name: {CHAT}\n{base}  supports_tools: true\n  supports_schema: true\n"
        models += f"- model_id: {READER}\n  model_name: {READER}\n{base}  vision: true\n"
        (Path(folder) / "extra-openai-models.yaml").write_text(models)
        (Path(folder) / "keys.json").write_text(json.dumps({"medley": service.key}))
        (Path(folder) / "red.png").write_bytes(picture())
        environment = {**os.environ, "LLM_USER_PATH": folder}
        command = [sys.executable, "-m", "llm", "-m", name, *(a.replace("FOLDER", folder) for a in arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, input=text or "")


def _output(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def chat(service: Service) -> str:
    return _output(_llm(service, "--no-stream", QUESTION))


def stream(service: Service) -> list[str]:
    return list(_output(_llm(service, QUESTION)))


def tools_auto(service: Service) -> str:
    code = 'def get_weather(city: str) -> str:\n    "The weather of a city."\n    return f"It rains in {city}."\n'
    return _output(_llm(service, "--functions", code, "What is the weather in Paris?"))


def json_schema(service: Service) -> dict[str, Any]:
    return json.loads(_output(_llm(service, "--schema", "name, age int", PERSON)))


def picture_in(service: Service) -> str:
    return _output(_llm(service, "-a", "FOLDER/red.png", "What is this?", name=READER))


def context_overflow(service: Service) -> Refusal:
    done = _llm(service, text=LONG)
    assert done.returncode, "no error"
    return Refusal("", done.stderr)
