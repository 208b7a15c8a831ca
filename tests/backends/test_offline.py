"""What `medley models pull` has fetched is all that models need to start without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.hub import COMMIT, Files, hub

from .painters import write_adapter, write_reference_adapter, write_sdxl
from .vision_weights import write_matter
from .weights import write_language_model, write_whisper

ROOT = Path(__file__).parents[2]
PIN = {"revision": COMMIT}
OPTIONS: dict[str, dict[str, Any]] = {
    "cutout": {"matting": "org/matter", "matting_revision": COMMIT},
    "transformers": {"weights": "org/writer"},  # not pinned
    "faster_whisper": {"weights": "org/ears", "device": "cpu", **PIN},
    "diffusers": {
        "weights": "org/painter",
        "adapters": {
            "ink": {"weights": "org/ink", "file": "pytorch_lora_weights.safetensors", **PIN},
            "pencil": {"weights": "org/pencil"},
        },
        "references": {"weights": "org/sight", "file": "tiny.safetensors", **PIN},
        "width": 64,
        "height": 64,
        **PIN,
    },
}
LOAD = """
import asyncio, json, sys
from deployments import BACKENDS

for name, options in json.loads(sys.argv[1]).items():
    backend = BACKENDS[name]()
    asyncio.run(backend.reconfigure(backend.Options(**options)))
"""


def files_of(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_models_start_offline_with_what_was_pulled(tmp_path: Path) -> None:
    painter = write_sdxl(tmp_path / "painter")
    repositories = {
        "org/matter": files_of(write_matter(tmp_path / "matter")),
        "org/writer": files_of(write_language_model(tmp_path / "writer")),
        "org/ears": files_of(write_whisper(tmp_path / "ears")),
        "org/painter": files_of(painter),
        "org/sight": files_of(write_reference_adapter(tmp_path / "sight", painter)),
        "org/ink": files_of(write_adapter(tmp_path / "ink", painter)),
        "org/pencil": files_of(write_adapter(tmp_path / "pencil", painter)),
    }
    application = {
        "name": "medley",
        "import_path": "serve_app.app:build",
        "route_prefix": "/",
        "args": {"models": [{"name": name, "backend": name} for name in OPTIONS]},
        "deployments": [{"name": name, "user_config": options} for name, options in OPTIONS.items()],
    }
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"applications": [application]}))
    told = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    def run(*command: str, **more: str) -> None:
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=told | more, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr

    with hub(repositories) as (url, _):
        run("-m", "serve_app", "models", "pull", str(profile), HF_ENDPOINT=url)
    run("-c", LOAD, json.dumps(OPTIONS), HF_HUB_OFFLINE="1")
