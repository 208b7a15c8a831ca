"""Configuration, parsed once at the edge: `AppConfig` from the profile, `Settings` from the environment.

A profile is Ray's own Serve config file. Its `args` are an `AppConfig` and say which models exist; each entry of its
`deployments:` says what may change while running, the backend's `user_config` among it. Ray ignores keys it does not
know in most sections, so `load_profile` refuses them here, with their path.
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
# Keys that profiles had before the first release: an old one is refused with its new name.
RENAMED = {"shares": "host", "most_loaded": "max_loaded", "cards": "gpus", "card_gib": "gpu_gib", "price": "cost"}


@dataclass(frozen=True)
class Profile:
    """A checked profile: Ray's own file, and our part of it parsed."""

    path: Path
    document: dict[str, Any]
    app: AppConfig

    @property
    def deployments(self) -> list[str]:
        return [GATEWAY, WORKER, *(model.name for model in self.app.models if model.host is None)]

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """What the profile says to each model's backend, by the model's name; those it says nothing to are left out."""
        entries: list[dict[str, Any]] = self.document["applications"][0].get("deployments") or []
        found: dict[str, dict[str, Any]] = {entry["name"]: entry.get("user_config") or {} for entry in entries}
        return found | {model.name: model.user_config for model in self.app.models if model.host is not None}

    def replicas(self, most: bool = False) -> dict[str, int]:
        """How many of each deployment live at least (0: it sleeps until it is asked) or at most, where it says."""
        entries: list[dict[str, Any]] = self.document["applications"][0].get("deployments") or []
        found = dict[str, int]()
        for entry in entries:
            scaling: dict[str, Any] = entry.get("autoscaling_config") or {}
            count = entry.get("num_replicas", 1)
            bound = scaling.get("max_replicas" if most else "min_replicas", 1) if scaling else count
            found[entry["name"]] = bound if isinstance(bound, int) else 1
        return found


def load_profile(path: Path) -> Profile:
    """Read and check all of a profile before anything is deployed.

    Raises:
        InvalidConfig: it cannot be read, or a key or value in it is wrong; names the key's path.
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
    """A Serve config file with one application; its own keys are checked, those of `args` are not."""
    # Not at the top: Ray reads its environment on import, and `medley up` sets that first.
    from ray.serve.schema import ServeDeploySchema

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
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
    """Refuse what an entry of `deployments:` cannot say about its model."""
    for index, model in enumerate(app.models):
        if model.name != entry["name"]:
            continue
        if model.host is not None:
            raise InvalidConfig(
                f"{where}.name: {model.name!r} lives in the replicas of {model.host!r} and has no deployment; "
                f"its options belong in {at}.args.models[{index}].user_config"
            )
        if model.gpu_memory_gib is not None and "ray_actor_options" in entry:
            # It would replace what follows from `gpu_memory_gib`, and the model would think it has no GPU.
            raise InvalidConfig(f"{where}.ray_actor_options: say `cpus` and `gpu_memory_gib` in args.models instead")


def find_profile(profile: Path) -> Path:
    """A path as it is; a bare name is looked for among the profiles that ship.

    Raises:
        UnknownName: none of them is called so.
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
    """Refuse keys that no field has, at every depth; `kind` is a schema or the annotation of a field."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for one in kinds:
        if isinstance(value, list) and typing.get_origin(one) is list:
            (inside,) = typing.get_args(one)
            for index, item in enumerate(cast(list[Any], value)):
                if _is_schema(inside) and not isinstance(item, dict):
                    raise InvalidConfig(f"{at}[{index}]: must be a mapping")
                _check_keys(item, inside, f"{at}[{index}]")
        elif isinstance(value, dict) and _is_schema(one):
            for key, inner in cast(dict[Any, Any], value).items():
                where = f"{at}.{key}".lstrip(".")
                if key not in one.model_fields:
                    renamed = RENAMED.get(key)
                    hint = f" It is called {renamed!r} now." if renamed in one.model_fields else ""
                    raise InvalidConfig(f"{where}: unknown key.{hint or nearest(str(key), one.model_fields)}")
                _check_keys(inner, one.model_fields[key].annotation, where)


def _is_schema(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _parse(schema: Any, value: Any, at: str) -> Any:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = at + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidConfig(f"{path.lstrip('.')}: {first['msg']}") from None
