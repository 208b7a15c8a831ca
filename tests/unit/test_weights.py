"""`medley models pull`: what is fetched of a repository, from the hub or a bucket, and what is found wrong with it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from safetensors.numpy import save

from deployments import BACKENDS
from deployments.backend import weights_path
from deployments.language.vllm import VLLM
from deployments.loads import USUAL, Loads, Named, named_by
from deployments.text_to_image.diffusers import DiffusersTextToImage
from serve_app.config.profile import find_profile, load_profile
from serve_app.errors import BadWeights
from serve_app.provisioning.weights import File, Weights, chosen, named, verify
from serve_app.provisioning.weights_copy import copy

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
        ({"revision": "b" * 40}, f"the hub has no revision {'b' * 40} of org/model"),
        ({"name": "org/other"}, f"the hub has no org/other (revision {COMMIT})"),
    ],
)
def test_what_is_not_there_is_said_by_name(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    with hub({"org/model": REPOSITORY}) as (url, _):
        done = pull(profile(tmp_path, **asked), tmp_path / "home", url)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "Request ID" not in done.stderr
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


@pytest.mark.slow
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
    files = ["config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in found.iterdir()) == [".medley.json", *files]
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


def bucket_of(folder: Path, data: bytes) -> Path:
    path = folder / "bucket" / "org" / "model" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def copied(folder: Path, told: Callable[[int, int], None] = lambda done, total: None) -> Path:
    weights = Weights("writer", "org/model", None, None, USUAL)
    return copy(weights, str(folder / "bucket"), told) / "model.safetensors"


def test_a_copy_tells_how_far_it_is_within_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_WEIGHTS", str(tmp_path / "weights"))
    large = save({"a": np.zeros(1_000_000, np.float32)})
    bucket_of(tmp_path, large)
    told = list[tuple[int, int]]()
    assert copied(tmp_path, lambda done, total: told.append((done, total))).read_bytes() == large
    assert {total for _, total in told} == {len(large)}
    counts = [done for done, _ in told]
    assert counts == sorted(counts)
    assert counts[-1] == len(large)
    assert len({count for count in counts if count < len(large)}) >= 3


def test_a_source_of_the_same_size_that_has_changed_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLEY_WEIGHTS", str(tmp_path / "weights"))
    bucket_of(tmp_path, TENSORS)
    before = copied(tmp_path).stat()
    assert copied(tmp_path).stat().st_mtime_ns == before.st_mtime_ns  # not copied again
    other = save({"a": np.ones(4, np.float32)})
    assert len(other) == len(TENSORS)
    os.utime(bucket_of(tmp_path, other), (1, 1))
    assert copied(tmp_path).read_bytes() == other


def test_a_copy_that_has_changed_since_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_WEIGHTS", str(tmp_path / "weights"))
    bucket_of(tmp_path, TENSORS)
    copied(tmp_path).write_bytes(save({"a": np.ones(4, np.float32)}))
    with pytest.raises(BadWeights, match=r"model\.safetensors is damaged"):
        copied(tmp_path)


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
    assert "hustvl/vitmatte-small-composition-1k" in {one.name for one in found}
    assert all(one.revision and len(one.revision) == 40 for one in found)
    assert [one for one in found if "whisper" in one.name and "model.bin" in one.files]
    assert named(load_profile(find_profile(Path("starter")))) == []


@pytest.mark.parametrize("path", sorted([ROOT / "serve_config.yaml", *(ROOT / "configs").glob("*.yaml")]))
def test_no_hub_name_of_a_profile_that_ships_is_left_behind(path: Path) -> None:
    packaged = {one.name for one in load_profile(path).app.weights}
    written = {pair for pair in _hub_names(yaml.safe_load(path.read_text())) if pair[0] not in packaged}
    assert written == {(one.name, one.revision) for one in _of(path)}
    assert written or path.stem == "serve_config"


def _hub_names(value: Any) -> Iterator[tuple[str, str | None]]:
    """Every ORG/NAME in a profile, whatever the key it stands under, with the revision beside it."""
    if isinstance(value, dict):
        said = cast(dict[str, Any], value)
        for key, inner in said.items():
            if (
                key not in ("path", "name")
                and isinstance(inner, str)
                and re.fullmatch(r"(?!starter/)[\w.-]+/[\w.-]+(@\w+)?", inner)
            ):
                name, _, commit = inner.partition("@")
                yield name, commit or said.get(f"{key}_revision") or said.get("revision")
            yield from _hub_names(inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _hub_names(inner)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_option_that_takes_a_hub_name_is_marked(backend: str) -> None:
    for schema, field, about in _fields(BACKENDS[backend].Options):
        if field == "model" or not re.search(r"hub name|weights of", about.description or "", re.IGNORECASE):
            continue  # `model` is one at a provider
        if field == "revision" or field.endswith("_revision"):
            continue
        mark = next((said for said in about.metadata if isinstance(said, Loads)), None)
        assert mark is not None or field == "weights", f"{schema.__name__}.{field} is not fetched: mark it with Loads"
        assert mark is None or mark.revision is None or mark.revision in schema.model_fields


def _fields(schema: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str, FieldInfo]]:
    for field, about in schema.model_fields.items():
        yield schema, field, about
        for inner in _schemas(about.annotation):
            yield from _fields(inner)


def _schemas(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _schemas(inner)


PINS = [letter * 40 for letter in "abcd"]
PATHS = [
    "models/ip-adapter_sd15.safetensors",
    "models/ip-adapter-plus_sd15.safetensors",
    "models/image_encoder/config.json",
    "models/image_encoder/model.safetensors",
    "models/image_encoder/pytorch_model.bin",
    "sdxl_models/ip-adapter_sdxl.safetensors",
]


def test_what_goes_with_a_painter_is_fetched_with_it() -> None:
    sight = {"weights": "h94/IP-Adapter", "revision": PINS[1], "file": "ip-adapter_sd15.safetensors"}
    options = DiffusersTextToImage.Options.model_validate(
        {
            "weights": "org/painter",
            "revision": PINS[0],
            "variant": "fp16",
            "references": sight,
            "adapters": {"ink": {"weights": "org/ink", "revision": PINS[2], "file": "ink.safetensors"}},
            "upscaler": "org/upscaler",
            "upscaler_revision": PINS[3],
        }
    )
    found = {one.name: one for one in named_by(options)}
    assert {name: one.revision for name, one in found.items()} == {
        "org/painter": PINS[0], "h94/IP-Adapter": PINS[1], "org/ink": PINS[2], "org/upscaler": PINS[3]
    }  # fmt: skip
    assert [one.variant for one in found.values()] == ["fp16", None, None, None]
    assert _chosen(PATHS, found["h94/IP-Adapter"]) == {PATHS[0], PATHS[2], PATHS[3]}
    assert _chosen(["ink.safetensors", "other.safetensors", "config.json"], found["org/ink"]) == {"ink.safetensors"}


def test_adapters_of_a_language_model_are_fetched_with_it() -> None:
    adapters = {"law": f"org/law@{COMMIT}", "tales": "org/tales", "own": "/srv/own@home"}
    found = list(named_by(VLLM.Options.model_validate({"weights": "org/model", "adapters": adapters})))
    assert [(one.name, one.revision) for one in found[1:3]] == [("org/law", COMMIT), ("org/tales", None)]
    names = ["adapter_model.safetensors", "adapter_config.json", "adapter_model.bin", "optimizer.safetensors"]
    assert _chosen(names, found[1]) == set(names[:2])


def _chosen(paths: list[str], said: Named) -> set[str]:
    weights = Weights("model", said.name, said.revision, said.variant, said.files, said.only)
    return {file.name for file in chosen([File(path, 1, None) for path in paths], weights)}


@pytest.mark.slow
def test_what_is_fetched_without_a_pinned_revision_is_there_offline_too(tmp_path: Path) -> None:
    with hub({"org/model": REPOSITORY}) as (url, _):
        assert pull(profile(tmp_path, None), tmp_path / "home", url).returncode == 0
    offline = pull(profile(tmp_path, None), tmp_path / "home", url, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr


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
