"""Configuration, parsed once at the edge: `AppConfig` from the profile, `Settings` from the environment.

A profile is Ray's own Serve config file. Its `args` are an `AppConfig` and say which models exist; each entry of its
`deployments:` says what may change while running, the backend's `user_config` among it. Ray ignores keys it does not
know inside `deployments:`, so `load_profile` refuses them here, with their path.
"""

import functools
import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployments import BACKENDS
from deployments.capabilities import capabilities_of
from deployments.media import MediaLimits

from .errors import InvalidConfig, nearest
from .graph import Graph

APPLICATION = "medley"
GATEWAY = "gateway"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Strict):
    """One model that exists. The first of a capability is the default, the next ones are its fallbacks."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64, description="Also the deployment's name")
    backend: str = Field(description="A name of `deployments.BACKENDS`, or `package.module:Class`")


class GatewayConfig(Strict):
    """How the gateway behaves."""

    cors_origins: list[str] = Field([], description="Origins whose pages may call; `*` for all")
    max_body_mb: float = Field(32, gt=0, le=2048, description="Largest request body, in MB")
    run_timeout_s: float = Field(300, gt=0, le=3600, description="Longest a synchronous run may take")
    max_image_pixels: int = Field(25_000_000, gt=0)
    max_audio_s: float = Field(600, gt=0)
    max_video_s: float = Field(300, gt=0)

    @property
    def limits(self) -> MediaLimits:
        return MediaLimits(self.max_image_pixels, self.max_audio_s, self.max_video_s)


class AppConfig(Strict):
    """The `args` of a profile's application."""

    models: list[ModelConfig] = Field(min_length=1, description="In order of preference within a capability")
    graphs: list[str] = Field(["graphs"], description="`package` with a list GRAPHS, or `package.module:graph`")
    gateway: GatewayConfig = GatewayConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AppConfig":
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1 or name == GATEWAY:
                raise ValueError(f"the model name {name!r} is taken twice")
        return self


@dataclass(frozen=True)
class Settings:
    """What comes from the environment: where things are kept, and secrets."""

    home: Path
    api_key: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        home = environment.get("MEDLEY_HOME") or "~/.medley"
        return cls(home=Path(home).expanduser().absolute(), api_key=environment.get("MEDLEY_API_KEY") or None)

    def __repr__(self) -> str:
        return f"Settings(home={self.home})"


@functools.cache
def load_backend(name: str) -> type[Any]:
    """The backend class of a short name or `package.module:Class`.

    Raises:
        InvalidConfig: there is none, or it offers no capability.
    """
    backend = BACKENDS.get(name) or (_attribute(name) if ":" in name else None)
    if backend is None:
        raise InvalidConfig(f"There is no backend {name!r}.{nearest(name, BACKENDS)}")
    if not isinstance(backend, type) or not capabilities_of(backend):
        raise InvalidConfig(f"Backend {name!r} offers no capability.")
    return backend


def load_graphs(places: Iterable[str]) -> dict[str, Graph[..., Any]]:
    """The graphs by name.

    Raises:
        InvalidConfig: a place has no graphs, or a name is there twice.
    """
    found: dict[str, Graph[..., Any]] = {}
    for place in places:
        value = _attribute(place if ":" in place else f"{place}:GRAPHS")
        for graph in [value] if isinstance(value, Graph) else value:
            if not isinstance(graph, Graph):
                raise InvalidConfig(f"graphs: {place} has something that is no graph: {graph!r}")
            if graph.name in found:
                raise InvalidConfig(f"graphs: the name {graph.name!r} is taken twice")
            found[graph.name] = graph
    return found


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidConfig(f"{place!r} cannot be imported: {error}") from None


@dataclass(frozen=True)
class Profile:
    """A checked profile: Ray's own file, and our part of it parsed."""

    path: Path
    document: dict[str, Any]
    app: AppConfig

    @property
    def deployments(self) -> list[str]:
        return [GATEWAY, *(model.name for model in self.app.models)]


def load_profile(path: Path) -> Profile:
    """Read and check all of a profile before anything is deployed.

    Raises:
        InvalidConfig: it cannot be read, or a key or value in it is wrong; names the key's path.
    """
    # Not at the top: Ray reads its environment on import, and `medley up` sets that first.
    from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise InvalidConfig(f"{path}: must be a Serve config file")
    _known(document, ServeDeploySchema.model_fields, "")
    applications = document.get("applications") or []
    if len(applications) != 1:
        raise InvalidConfig(f"{path}: applications: must have exactly one entry, Medley's")
    at = "applications[0]"
    application = applications[0]
    _known(application, ServeApplicationSchema.model_fields, at)
    app = _parse(AppConfig, application.get("args") or {}, f"{at}.args")
    load_graphs(app.graphs)
    backends = {model.name: load_backend(model.backend) for model in app.models}
    for index, entry in enumerate(application.get("deployments") or []):
        _check_deployment(entry, f"{at}.deployments[{index}]", backends)
    _parse(ServeDeploySchema, document, "")
    return Profile(path, document, app)


def _check_deployment(entry: dict[str, Any], at: str, backends: Mapping[str, type[Any]]) -> None:
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import DeploymentSchema, RayActorOptionsSchema

    _known(entry, DeploymentSchema.model_fields, at)
    _known(entry.get("ray_actor_options") or {}, RayActorOptionsSchema.model_fields, f"{at}.ray_actor_options")
    _known(entry.get("autoscaling_config") or {}, AutoscalingConfig.model_fields, f"{at}.autoscaling_config")
    name = str(entry.get("name"))
    if name == GATEWAY:
        return
    if name not in backends:
        raise InvalidConfig(f"{at}.name: there is no model {name!r}.{nearest(name, [GATEWAY, *backends])}")
    _parse(backends[name].Options, entry.get("user_config") or {}, f"{at}.user_config")


def _known(section: dict[str, Any], fields: Mapping[str, Any], at: str) -> None:
    for key in section:
        if key not in fields:
            raise InvalidConfig(f"{at}.{key}: unknown key.{nearest(key, fields)}".lstrip("."))


def _parse(schema: Any, value: Any, at: str) -> Any:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([at, *(str(part) for part in first["loc"])]).strip(".")
        hint = nearest(str(first["loc"][-1]), schema.model_fields) if first["type"] == "extra_forbidden" else ""
        what = "unknown key." if hint else first["msg"]
        raise InvalidConfig(f"{path}: {what}{hint}") from None
