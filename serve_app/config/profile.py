"""Profiles, parsed and checked once at the edge.

A profile is a Serve config file of Ray. Its `args` are an `AppConfig` with the models. The entries of its
`deployments:` have the settings that may change while it runs, including each backend's `user_config`. Ray ignores
unknown keys in most sections, so `load_profile` refuses them here, with their path.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from typing_extensions import TypeIs

from ..errors import InvalidConfig, UnknownName, nearest
from .loading import check_names, load_backend, load_graphs
from .multiplexing import check_multiplexing
from .schema import GATEWAY, WORKER, AppConfig
from .tensor_parallel import check_tensor_parallel

STARTER = Path(__file__).parents[2] / "serve_config.yaml"  # the profile that runs anywhere
# Keys that were renamed before the first release: the error for an old key states the new name.
RENAMED = {"shares": "host", "most_loaded": "max_loaded", "cards": "gpus", "card_gib": "gpu_gib", "price": "cost"}


@dataclass(frozen=True)
class Profile:
    """A checked profile: the document for Ray, and Medley's part of it parsed."""

    path: Path
    document: dict[str, Any]
    app: AppConfig

    @property
    def deployments(self) -> list[str]:
        return [GATEWAY, WORKER, *(model.name for model in self.app.models if model.host is None)]

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """The options of each model's backend by the model's name, for the models that the profile sets options for."""
        entries: list[dict[str, Any]] = self.document["applications"][0].get("deployments") or []
        options: dict[str, dict[str, Any]] = {entry["name"]: entry.get("user_config") or {} for entry in entries}
        return options | {model.name: model.user_config for model in self.app.models if model.host is not None}

    def replicas(self, most: bool = False) -> dict[str, int]:
        """The minimum number of replicas by deployment (0: it starts on demand), or with `most` the maximum."""
        entries: list[dict[str, Any]] = self.document["applications"][0].get("deployments") or []
        counts = dict[str, int]()
        for entry in entries:
            scaling: dict[str, Any] = entry.get("autoscaling_config") or {}
            count = entry.get("num_replicas", 1)
            bound = scaling.get("max_replicas" if most else "min_replicas", 1) if scaling else count
            counts[entry["name"]] = bound if isinstance(bound, int) else 1
        return counts


def load_profile(path: Path) -> Profile:
    """Read and check a whole profile before anything is deployed.

    Raises:
        InvalidConfig: the file cannot be read, or a key or value is invalid; names the key's path.
    """
    document = _read(path)
    application = document["applications"][0]
    at = "applications[0]"
    arguments: dict[str, Any] = application.get("args") or {}
    _check_keys(arguments, AppConfig, f"{at}.args")
    app: AppConfig = _parse(AppConfig, arguments, f"{at}.args")
    check_names(app, load_graphs(app.graphs), f"{at}.args")
    backends: dict[str, type[Any]] = {model.name: load_backend(model.backend) for model in app.models}
    check_multiplexing(app.models, backends, f"{at}.args.models")
    for index, model in enumerate(app.models):
        if model.host is not None:
            _check_options(model.name, model.user_config, backends, f"{at}.args.models[{index}]")
    entries: list[dict[str, Any]] = application.get("deployments") or []
    for index, entry in enumerate(entries):
        where, name = f"{at}.deployments[{index}]", entry["name"]
        if name in [other["name"] for other in entries[:index]]:
            raise InvalidConfig(f"{where}.name: {name!r} is there twice")
        _check_entry(entry, app, where, at)
        if name not in (GATEWAY, WORKER):
            _check_options(name, entry.get("user_config") or {}, backends, where)
    profile = Profile(path, document, app)
    check_tensor_parallel(app.models, profile.options, entries, at)
    return profile


def _read(path: Path) -> dict[str, Any]:
    """A Serve config file with one application; its keys are checked, except those of `args`."""
    # Not imported at the top: Ray reads its environment on import, and `medley up` sets the environment first.
    from ray.serve.schema import ServeDeploySchema

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise InvalidConfig(f"{path}: must be a Serve config file")
    document = cast(dict[str, Any], document)
    _check_keys(document, ServeDeploySchema, "")
    if len(document.get("applications") or []) != 1:
        raise InvalidConfig(f"{path}: applications: must have exactly one entry, Medley's")
    _parse(ServeDeploySchema, document, "")
    return document


def _check_entry(entry: Mapping[str, Any], app: AppConfig, where: str, at: str) -> None:
    """Check that an entry of `deployments:` has no settings that its model cannot have."""
    for index, model in enumerate(app.models):
        if model.name != entry["name"]:
            continue
        if model.host is not None:
            raise InvalidConfig(
                f"{where}.name: {model.name!r} shares the deployment of {model.host!r} and has none of its own; "
                f"its options belong in {at}.args.models[{index}].user_config"
            )
        if model.gpu_memory_gib is not None and "ray_actor_options" in entry:
            # They would replace the options derived from `gpu_memory_gib`, and the model would get no GPU.
            raise InvalidConfig(f"{where}.ray_actor_options: set `cpus` and `gpu_memory_gib` in args.models instead")


def find_profile(profile: Path) -> Path:
    """The path of a profile: a path as it is, or the path of a profile that ships with Medley for a bare name.

    Raises:
        UnknownName: no profile that ships has the name.
    """
    if profile.exists() or profile.suffix:
        return profile
    shipped = {"starter": STARTER, **{path.stem: path for path in (STARTER.parent / "configs").glob("*.yaml")}}
    if str(profile) not in shipped:
        raise UnknownName("profile", str(profile), shipped)
    return shipped[str(profile)]


def _check_options(name: str, options: dict[str, Any], backends: Mapping[str, type[Any]], at: str) -> None:
    if name not in backends:
        raise InvalidConfig(f"{at}.name: there is no model {name!r}.{nearest(name, [GATEWAY, WORKER, *backends])}")
    schema = backends[name].Options
    _check_keys(options, schema, f"{at}.user_config")
    _parse(schema, options, f"{at}.user_config")


def _check_keys(value: Any, kind: Any, at: str) -> None:
    """Refuse unknown keys, at every depth; `kind` is a schema or the annotation of a field."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for option in options:
        if isinstance(value, list) and typing.get_origin(option) is list:
            (item_kind,) = typing.get_args(option)
            for index, item in enumerate(cast(list[Any], value)):
                if _is_schema(item_kind) and not isinstance(item, dict):
                    raise InvalidConfig(f"{at}[{index}]: must be a mapping")
                _check_keys(item, item_kind, f"{at}[{index}]")
        elif isinstance(value, dict) and _is_schema(option):
            for key, inner in cast(dict[Any, Any], value).items():
                where = f"{at}.{key}".lstrip(".")
                if key not in option.model_fields:
                    renamed = RENAMED.get(key)
                    hint = f" It is called {renamed!r} now." if renamed in option.model_fields else ""
                    raise InvalidConfig(f"{where}: unknown key.{hint or nearest(str(key), option.model_fields)}")
                _check_keys(inner, option.model_fields[key].annotation, where)


def _is_schema(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _parse(schema: Any, value: Any, at: str) -> Any:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = at + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidConfig(f"{path.lstrip('.')}: {first['msg']}") from None
