"""Clients for Node.js: each is a script in `node/`, which gets its inputs as JSON and prints its result as JSON."""

import base64
import json
import shutil
import subprocess
from typing import Any

from . import cells
from .cells import Call, Refusal, Service

FOLDER = cells.ROOT / "tests" / "clients" / "node"
INSTALLED = shutil.which("node") is not None and (FOLDER / "node_modules").is_dir()


def script(name: str, cell: str, service: Service, **more: Any) -> Any:
    """The result of a script's cell.

    Raises:
        AssertionError: the script failed; with its error.
    """
    inputs = {
        "openai": service.openai,
        "key": service.key,
        "picture": base64.b64encode(cells.picture()).decode(),
        "speech": str(cells.SPEECH),
        "models": {
            "chat": cells.CHAT,
            "reader": cells.READER,
            "embedder": cells.EMBEDDER,
            "painter": cells.PAINTER,
            "ears": cells.EARS,
            "voice": cells.VOICE,
        },
        "texts": {
            "question": cells.QUESTION,
            "weather": cells.WEATHER,
            "person": cells.PERSON,
            "long": cells.LONG,
            "alike": ["A cat sleeps.", "A kitten naps."],
        },
        **more,
    }
    command = ["node", f"{name}.mjs", cell]
    done = subprocess.run(command, cwd=FOLDER, input=json.dumps(inputs), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(name: str, cell: str, service: Service) -> Any:
    """A script's result as the cell's check wants it."""
    value = script(name, cell, service)
    if isinstance(value, dict) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    if cell.startswith("tools") and isinstance(value, dict):
        return Call(**value)
    if cell == "errors":
        return tuple(_refusal(one) for one in value)
    return _refusal(value) if cell == "context_overflow" else value


def _refusal(value: dict[str, str]) -> Refusal:
    return Refusal(value["kind"], f"{value['text']} {value.get('code', '')}")
