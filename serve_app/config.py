"""Configuration, parsed once at the edge: `AppConfig` from the profile, `Settings` from the environment.

A profile is Ray's own Serve config file. Its `args` are an `AppConfig` and say which models exist; each entry of its
`deployments:` says what may change while running, the backend's `user_config` among it. Ray ignores keys it does not
know in most sections, so `load_profile` refuses them here, with their path.
"""

import functools
import importlib
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypeIs

from deployments import BACKENDS
from deployments.callbacks import SECRET_VARIABLE
from deployments.capabilities import capabilities_of
from deployments.media import MediaLimits
from graphs.prompt_category import Category

from .cards import check_cards
from .errors import InvalidConfig, UnknownName, nearest
from .graph import Graph
from .selection import AUTO, Traits
from .sharing import check_sharing

APPLICATION = "medley"
GATEWAY = "gateway"
WORKER = "worker"
DAY_S = 86400.0
STARTER = Path(__file__).parent.parent / "serve_config.yaml"  # the profile that runs anywhere


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Strict):
    """One model that exists. The first of a capability is the default, the next ones are its fallbacks."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64, description="The deployment's name too, unless it shares one"
    )
    backend: str = Field(description="A name of `deployments.BACKENDS`, or `package.module:Class`")
    gpu_memory_gib: float | None = Field(
        default=None, gt=0, le=1024, description="Of one card, all of a replica's process; its share follows from it"
    )
    cards: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Of one machine, which each replica has whole; `gpu_memory_gib` is of each. For weights that "
        "`tensor_parallel_size` divides",
    )
    node: str | None = Field(
        default=None, description="Kind of node it runs on; the smallest card that takes it if not"
    )
    cpus: float | None = Field(default=None, gt=0, le=1024, description="For Ray, beside a card; the backend's if not")
    shares: str | None = Field(
        default=None, description="The model in whose replicas it lives; they take turns in memory"
    )
    most_loaded: int = Field(
        default=1, ge=1, le=64, description="Of a model that others share: how many are in memory at once, it included"
    )
    user_config: dict[str, Any] = Field(default={}, description="Backend's options of one that shares; else below")
    good_at: list[Category] = Field(default=[], description="For `model: auto`: kinds of prompts; none: any")
    price: float = Field(default=0, ge=0, description="For `model: auto`: what a call costs, in any unit")
    largest: int | None = Field(
        default=None, ge=1, description="For `model: auto`: longest side in pixels, or new tokens, that it makes"
    )

    @property
    def traits(self) -> Traits:
        return Traits(frozenset(self.good_at), self.price, self.largest)


class NodeConfig(Strict):
    """A kind of machine with GPUs, for `medley plan` and for the shares of cards."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    count: int = Field(default=1, ge=1, le=10_000, description="How many of them there are")
    cards: int = Field(default=0, ge=0, le=64, description="GPUs of each")
    card_gib: float = Field(default=0, ge=0, le=1024, description="Memory of each GPU that models may use")
    accelerator: str | None = Field(default=None, description="Ray's label for its GPU, such as A100; any if not given")


class GatewayConfig(Strict):
    """How the gateway behaves."""

    cors_origins: list[str] = Field(default=[], description="Origins whose pages may call; `*` for all")
    max_body_mb: float = Field(default=32, gt=0, le=2048, description="Largest request body, in MB")
    wait_s: float = Field(default=60, gt=0, le=3600, description="After this a run goes on as a job, unless it streams")
    run_timeout_s: float = Field(default=300, gt=0, le=3600, description="Longest a stream or an OpenAI call may take")
    max_image_pixels: int = Field(default=25_000_000, gt=0)
    max_audio_s: float = Field(default=600, gt=0)
    max_video_s: float = Field(default=300, gt=0)

    @property
    def limits(self) -> MediaLimits:
        return MediaLimits(self.max_image_pixels, self.max_audio_s, self.max_video_s)


class JobsConfig(Strict):
    """How durable runs are run."""

    lease_s: float = Field(default=5, ge=0.5, le=300, description="How long a silent worker keeps a job")
    per_user: int = Field(default=8, ge=1, le=10_000, description="Jobs of one user that run at once")
    tries: int = Field(default=3, ge=1, le=100, description="Times a job is run when no model could answer")
    workers_lost: int = Field(default=5, ge=1, le=100, description="Workers a job may lose before it is given up")
    timeout_s: float = Field(default=3600, gt=0, le=7 * 86400, description="Longest a job may run, retries included")
    keep_days: float = Field(default=7, gt=0, le=3650, description="How long ended jobs and artifacts are kept")
    prices: dict[str, int] = Field(default={}, description="Credits a run of a graph costs; others cost none")
    step_cache_mb: float = Field(default=0, ge=0, description="Answers of like steps kept for reuse; 0: none")
    cached_price: float = Field(default=0.1, ge=0, le=1, description="Share of the price for a step from the cache")
    private_webhooks: list[str] = Field(default=[], description="host or host:port that webhooks may reach privately")

    @property
    def keep_s(self) -> float:
        return self.keep_days * DAY_S


class AppConfig(Strict):
    """The `args` of a profile's application."""

    models: list[ModelConfig] = Field(min_length=1, description="In order of preference within a capability")
    nodes: list[NodeConfig] = Field(default=[], description="Machines with GPUs")
    graphs: list[str] = Field(default=["graphs"], description="`package` with a list GRAPHS, or `package.module:graph`")
    gateway: GatewayConfig = GatewayConfig()
    jobs: JobsConfig = JobsConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AppConfig":
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1 or name in (GATEWAY, WORKER, AUTO):
                raise ValueError(f"the model name {name!r} is taken twice")
        kinds = [node.name for node in self.nodes]
        if len(set(kinds)) < len(kinds):
            raise ValueError("two kinds of node have one name")
        return self


@dataclass(frozen=True)
class Settings:
    """What comes from the environment: where things are kept, and secrets."""

    home: Path
    api_key: str | None
    database_url: str = ""  # without one: an SQLite file in `home`
    artifacts_url: str = ""  # without one: a folder in `home`
    signing_key: str | None = None  # without one: a file in `home`
    callback_secret: str | None = None  # Freepik's; without one it cannot call back

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        home = environment.get("MEDLEY_HOME") or "~/.medley"
        key = environment.get("MEDLEY_API_KEY", "").strip()  # secrets often come with a line end
        place = Path(home).expanduser().absolute()
        return cls(
            home=place,
            api_key=key or None,
            database_url=environment.get("MEDLEY_DATABASE_URL", "").strip() or f"sqlite:///{place}/medley.db",
            artifacts_url=environment.get("MEDLEY_ARTIFACTS_URL", "").strip() or str(place / "artifacts"),
            signing_key=environment.get("MEDLEY_SIGNING_KEY", "").strip() or None,
            callback_secret=environment.get(SECRET_VARIABLE, "").strip() or None,
        )

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
        for graph in cast(list[Any], value) if isinstance(value, list | tuple) else [value]:
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
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: no name of a module
        raise InvalidConfig(f"{place!r} cannot be imported: {error}") from None


@dataclass(frozen=True)
class Profile:
    """A checked profile: Ray's own file, and our part of it parsed."""

    path: Path
    document: dict[str, Any]
    app: AppConfig

    @property
    def deployments(self) -> list[str]:
        return [GATEWAY, WORKER, *(model.name for model in self.app.models if model.shares is None)]

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """What the profile says to each model's backend, by the model's name; those it says nothing to are left out."""
        entries: list[dict[str, Any]] = self.document["applications"][0].get("deployments") or []
        found: dict[str, dict[str, Any]] = {entry["name"]: entry.get("user_config") or {} for entry in entries}
        return found | {model.name: model.user_config for model in self.app.models if model.shares is not None}

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
    # Not at the top: Ray reads its environment on import, and `medley up` sets that first.
    from ray.serve.schema import ServeDeploySchema

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise InvalidConfig(f"{path}: must be a Serve config file")
    document = cast(dict[str, Any], document)
    _known(document, ServeDeploySchema, "")
    applications: list[dict[str, Any]] = document.get("applications") or []
    if len(applications) != 1:
        raise InvalidConfig(f"{path}: applications: must have exactly one entry, Medley's")
    _parse(ServeDeploySchema, document, "")
    at = "applications[0]"
    arguments: dict[str, Any] = applications[0].get("args") or {}
    _known(arguments, AppConfig, f"{at}.args")
    app: AppConfig = _parse(AppConfig, arguments, f"{at}.args")
    load_graphs(app.graphs)
    backends = {model.name: load_backend(model.backend) for model in app.models}
    check_sharing(app.models, backends, f"{at}.args.models")
    for index, model in enumerate(app.models):
        if model.shares is not None:
            _check_options(model.name, model.user_config, backends, f"{at}.args.models[{index}]")
    lodgers = {model.name: index for index, model in enumerate(app.models) if model.shares is not None}
    shared = [model.name for model in app.models if model.gpu_memory_gib is not None]
    entries: list[dict[str, Any]] = applications[0].get("deployments") or []
    for index, entry in enumerate(entries):
        where = f"{at}.deployments[{index}]"
        name = entry["name"]
        if name in [other["name"] for other in entries[:index]]:
            raise InvalidConfig(f"{where}.name: {name!r} is there twice")
        if name in lodgers:
            place = f"{at}.args.models[{lodgers[name]}]"
            host = app.models[lodgers[name]].shares
            raise InvalidConfig(
                f"{where}.name: {name!r} lives in the replicas of {host!r} and has no deployment; "
                f"its options belong in {place}.user_config"
            )
        if name in shared and "ray_actor_options" in entry:
            # It would replace what follows from `gpu_memory_gib`, and the model would think it has no card.
            raise InvalidConfig(f"{where}.ray_actor_options: say `cpus` and `gpu_memory_gib` in args.models instead")
        if name not in (GATEWAY, WORKER):
            _check_options(name, entry.get("user_config") or {}, backends, where)
    profile = Profile(path, document, app)
    check_cards(app.models, profile.options, entries, at)
    return profile


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
    _known(options, schema, f"{at}.user_config")
    _parse(schema, options, f"{at}.user_config")


def _known(value: Any, kind: Any, at: str) -> None:
    """Refuse keys that no field has, at every depth; `kind` is a schema or the annotation of a field."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for one in kinds:
        if isinstance(value, list) and typing.get_origin(one) is list:
            (inside,) = typing.get_args(one)
            for index, item in enumerate(cast(list[Any], value)):
                if _is_schema(inside) and not isinstance(item, dict):
                    raise InvalidConfig(f"{at}[{index}]: must be a mapping")
                _known(item, inside, f"{at}[{index}]")
        elif isinstance(value, dict) and _is_schema(one):
            for key, inner in cast(dict[Any, Any], value).items():
                where = f"{at}.{key}".lstrip(".")
                if key not in one.model_fields:
                    raise InvalidConfig(f"{where}: unknown key.{nearest(str(key), one.model_fields)}")
                _known(inner, one.model_fields[key].annotation, where)


def _is_schema(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _parse(schema: Any, value: Any, at: str) -> Any:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = at + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidConfig(f"{path.lstrip('.')}: {first['msg']}") from None
