"""`medley models pull`: what is fetched of a repository, from the hub or a bucket, and what is found wrong with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from deployments.backend import weights_path
from serve_app.config import find_profile, load_profile
from serve_app.errors import BadWeights
from serve_app.weights import USUAL, File, Weights, chosen, named, verify

from .hub import COMMIT, Files, hub

ROOT = Path(__file__).parents[2]
TENSORS = save({"a": np.zeros(4, np.float32)})
REPOSITORY: Files = {
    "config.json": b"{}",
    "tokenizer.json": b"{\n}",
    "README.md": b"read",
    "model.safetensors": TENSORS,
    "pytorch_model.bin": b"pickle",
    "model.onnx": b"onnx",
}


def profile(folder: Path, revision: str | None = COMMIT, name: str = "org/model", **more: Any) -> Path:
    options = {"weights": name, **({"revision": revision} if revision else {}), **more}
    application = {
        "name": "medley",
        "import_path": "serve_app.app:build",
        "route_prefix": "/",
        "args": {"models": [{"name": "writer", "backend": "transformers"}]},
        "deployments": [{"name": "writer", "user_config": options}],
    }
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def pull(path: Path, home: Path, url: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own: the hub's address is read on import."""
    told = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": url, "NO_COLOR": "1", **environment}
    command = [sys.executable, "-m", "serve_app", "models", "pull", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=told, timeout=60)


def test_the_pinned_revision_is_fetched_once_without_what_no_engine_loads(tmp_path: Path) -> None:
    with hub({"org/model": REPOSITORY}) as (url, fetched):
        done = pull(profile(tmp_path), tmp_path / "home", url)
        assert done.returncode == 0, done.stderr
        assert sorted(fetched) == ["config.json", "model.safetensors", "tokenizer.json"]
        assert "verified" in done.stdout
        assert pull(profile(tmp_path), tmp_path / "home", url).returncode == 0
        assert len(fetched) == 3
    offline = pull(profile(tmp_path), tmp_path / "home", url, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"revision": "b" * 40}, "org/model"),
        ({"name": "org/other"}, "org/other"),
    ],
)
def test_what_is_not_there_is_said_by_name(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    with hub({"org/model": REPOSITORY}) as (url, _):
        done = pull(profile(tmp_path, **asked), tmp_path / "home", url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_with_nothing_here_says_so(tmp_path: Path) -> None:
    done = pull(profile(tmp_path), tmp_path / "home", "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "offline" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_was_changed_on_its_way_is_found(tmp_path: Path) -> None:
    with hub({"org/model": REPOSITORY}, damaged=frozenset({"model.safetensors"})) as (url, _):
        done = pull(profile(tmp_path), tmp_path / "home", url)
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_pickles_alone_are_not_fetched(tmp_path: Path) -> None:
    with hub({"org/model": {"config.json": b"{}", "pytorch_model.bin": b"pickle"}}) as (url, fetched):
        done = pull(profile(tmp_path), tmp_path / "home", url)
    assert done.returncode == 1
    assert "*.safetensors" in done.stderr
    assert fetched == []


def test_a_folder_or_bucket_is_copied_to_the_weights_folder_where_models_look_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, folder = tmp_path / "bucket", tmp_path / "weights"
    for name, data in REPOSITORY.items():
        path = bucket / "org" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    more = {"MEDLEY_WEIGHTS": str(folder)}
    done = pull(profile(tmp_path), tmp_path / "home", "", "--from", f"file://{bucket}", **more)
    assert done.returncode == 0, done.stderr
    found = folder / "org" / "model"
    assert sorted(path.name for path in found.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert weights_path("org/model") == "org/model"
    monkeypatch.setenv("MEDLEY_WEIGHTS", str(folder))
    assert weights_path("org/model") == str(found)
    assert weights_path("org/another") == "org/another"
    unset = pull(profile(tmp_path), tmp_path / "home", "", "--from", str(bucket), MEDLEY_WEIGHTS="")
    assert unset.returncode == 1
    assert "MEDLEY_WEIGHTS" in unset.stderr
    none = pull(profile(tmp_path, name="org/none"), tmp_path / "home", "", "--from", str(bucket), **more)
    assert none.returncode == 1
    assert "org/none" in none.stderr


PIPELINE = [
    "model_index.json",
    "whole.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "tokenizer/merges.txt",
]


@pytest.mark.parametrize(
    ("variant", "left_out"),
    [
        (None, {"whole.safetensors", PIPELINE[4], PIPELINE[5]}),
        ("fp16", {"whole.safetensors", PIPELINE[3]}),
    ],
)
def test_of_a_pipeline_only_what_is_loaded(variant: str | None, left_out: set[str]) -> None:
    files = [File(name, 1, None) for name in PIPELINE]
    kept = {file.name for file in chosen(files, Weights("painter", "o/n", None, variant, USUAL))}
    missing = set(PIPELINE) - kept
    assert missing - {PIPELINE[5]} == left_out - {PIPELINE[5]}


def test_every_hub_name_of_the_profiles_that_ship_has_a_pinned_commit() -> None:
    found = [one for path in sorted((ROOT / "configs").glob("*.yaml")) for one in _of(path)]
    assert len(found) > 5
    assert all(one.revision and len(one.revision) == 40 for one in found)
    assert [one for one in found if "whisper" in one.name and "model.bin" in one.files]
    assert named(load_profile(find_profile(Path("starter")))) == []


def _of(path: Path) -> list[Weights]:
    document = yaml.safe_load(path.read_text())
    return named(load_profile(path)) if "applications" in document else []


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, TENSORS[:-1], TENSORS + b"x", b"\x02\0\0\0\0\0\0\0[]", b"\x04\0\0\0\0\0\0\0{{{{"]
)
def test_what_is_cut_off_or_no_safetensors_is_found(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(TENSORS)
    verify(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(BadWeights, match=r"model\.safetensors"):
        verify(tmp_path)


def test_a_part_that_an_index_names_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    with pytest.raises(BadWeights, match=r"model-1\.safetensors"):
        verify(tmp_path)
