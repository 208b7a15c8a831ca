"""Weights that the hub does not have: a model's load says which repository and revision, in words of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .hub import COMMIT, REQUEST, Files, hub

ROOT = Path(__file__).parents[2]
LOADERS = ("transformers", "diffusers", "faster_whisper", "depth_anything")
ABSENT = "b" * 40
FILES: Files = {"config.json": b'{"model_type": "llama"}', "model_index.json": b"{}", "model.bin": b"CTranslate2"}
ADAPTER = {"law": f"org/model@{ABSENT}"}
ASKED: list[tuple[str, dict[str, Any]]] = [
    (backend, {"weights": name, "revision": revision})
    for backend in LOADERS
    for name, revision in (("org/model", ABSENT), ("org/other", COMMIT))
]
# In a process of its own: the hub's address is read on import.
LOAD = """
import asyncio, json, sys
from deployments import BACKENDS
from deployments.errors import MedleyError
from deployments.language.vllm_adapters import found_adapters

def said(work):
    try:
        work()
    except MedleyError as error:
        return [type(error).__name__, str(error)]

def load(name, options):
    backend = BACKENDS[name]()
    asyncio.run(backend.reconfigure(backend.Options(**options)))

asked, adapters = json.loads(sys.argv[1])
print(json.dumps([*(said(lambda: load(*one)) for one in asked), said(lambda: found_adapters(adapters))]))
"""


@pytest.fixture(scope="module", params=["online", "offline"])
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What each load came to, by what was asked."""
    with hub({"org/model": FILES}) as (url, _):
        home = str(tmp_path_factory.mktemp("home"))
        told = {**os.environ, "HF_HOME": home, "HF_ENDPOINT": url, "PYTHONPATH": str(ROOT)}
        if request.param == "offline":
            told["HF_HUB_OFFLINE"] = "1"
        command = [sys.executable, "-c", LOAD, json.dumps([ASKED, ADAPTER])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=told, timeout=240)
    assert done.returncode == 0, done.stderr
    yield {"how": request.param, "said": json.loads(done.stdout.splitlines()[-1])}


def test_what_is_not_at_the_hub_is_named_with_its_revision(answers: dict[str, Any]) -> None:
    for (backend, asked), (kind, text) in zip(ASKED, answers["said"], strict=False):
        assert kind == "ModelUnavailable", backend
        assert text.startswith(f"{asked['weights']} cannot be loaded: "), backend
        assert asked["revision"] in text, backend
        assert not any(word in text for word in (REQUEST, "Request ID", "Client Error", "\n")), text
        reason = text.partition(": ")[2]
        if answers["how"] == "offline":
            assert "is not on this machine, and the hub cannot be asked" in reason, backend
        elif asked["revision"] == ABSENT:
            assert reason == f"the hub has no revision {ABSENT} of org/model", backend
        else:
            assert reason.startswith(f"the hub has no org/other (revision {COMMIT})"), backend


def test_an_adapter_that_is_not_at_the_hub_is_named_too(answers: dict[str, Any]) -> None:
    kind, text = answers["said"][-1]
    assert kind == "ModelUnavailable"
    assert ABSENT in text
    assert "org/model" in text
    assert "Request ID" not in text
