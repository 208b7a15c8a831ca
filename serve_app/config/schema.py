"""The schema of a profile's `args`: values only, and the names that Serve's deployments have."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.media import MediaLimits
from deployments.prompt_category import Category

AUTO = "auto"


@dataclass(frozen=True)
class Traits:
    """What a profile says of a model, for the selector."""

    good_at: frozenset[Category] = frozenset()
    cost: float = 0.0  # of a call, in any unit; credits are another thing
    largest: int | None = None  # longest side in pixels, or new tokens


APPLICATION = "medley"
GATEWAY = "gateway"
WORKER = "worker"
DAY_S = 86400.0


class Strict(BaseModel):
    """A section of a profile: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Strict):
    """One model that exists. The first of a capability is the default, the next ones are its fallbacks."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64, description="Also of its deployment, unless it has a host"
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
        description="GPUs of one machine that each replica has to itself, for weights that `tensor_parallel_size` "
        "divides; `gpu_memory_gib` is per GPU",
    )
    node: str | None = Field(
        default=None, description="Name of a kind of node in `nodes`; by default the smallest GPU that is large enough"
    )
    cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Cores that Ray keeps for a replica with a GPU; by default the backend's",
    )
    host: str | None = Field(
        default=None,
        description="The model whose deployment it shares (model multiplexing); both have the same backend",
    )
    max_loaded: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Models of a shared deployment that are in memory at once, the host among them",
    )
    user_config: dict[str, Any] = Field(
        default={}, description="The backend's options of a model with a host; others have theirs under `deployments`"
    )
    good_at: list[Category] = Field(default=[], description="For `model: auto`: kinds of prompts; none: any")
    cost: float = Field(default=0, ge=0, description="For `model: auto`: what a call costs, in any unit")
    largest: int | None = Field(
        default=None, ge=1, description="For `model: auto`: longest side in pixels, or new tokens, that it makes"
    )

    @property
    def traits(self) -> Traits:
        return Traits(frozenset(self.good_at), self.cost, self.largest)


class NodeConfig(Strict):
    """A kind of machine: where models are placed, and a group of workers in the cluster's manifest."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    count: int = Field(default=1, ge=1, le=10_000, description="How many of them there are")
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of each")
    gpu_gib: float = Field(default=0, ge=0, le=1024, description="Memory of each GPU that models may use")
    accelerator: str | None = Field(default=None, description="Ray's label for its GPU, such as A100; any if not given")
    cpus: int = Field(default=8, ge=1, le=1024, description="Cores of each, for `medley manifest`")
    memory_gib: float = Field(default=32, gt=0, le=65_536, description="Memory of each, for `medley manifest`")
    node_selector: dict[str, str] = Field(default={}, description="Kubernetes labels of these machines")


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
    prices: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="Credits that a run of a graph costs, by the graph's name; others cost none"
    )
    step_cache_mb: float = Field(default=0, ge=0, description="Answers of like steps kept for reuse; 0: none")
    cached_price: float = Field(default=0.1, ge=0, le=1, description="Share of the price for a step from the cache")
    private_webhooks: list[str] = Field(default=[], description="host or host:port that webhooks may reach privately")

    @property
    def keep_s(self) -> float:
        return self.keep_days * DAY_S


class AppConfig(Strict):
    """The `args` of a profile's application."""

    models: list[ModelConfig] = Field(min_length=1, description="In order of preference within a capability")
    nodes: list[NodeConfig] = Field(default=[], description="Kinds of machines")
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
