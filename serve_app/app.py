"""`build(config)`: the profile's models wrapped as Serve deployments, and the gateway bound to their handles."""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from deployments.backend import GPU_SHARE, Needs, weights_path
from deployments.progress import following

from .config import GATEWAY, WORKER, AppConfig, ModelConfig, NodeConfig, load_backend, load_graphs
from .gateway import Gateway
from .jobs.worker import Worker
from .plan import gpu_share, node_for


def build(config: AppConfig) -> Application:
    """The Serve application of a profile (`import_path: serve_app.app:build`).

    Raises:
        InvalidConfig: a backend or graph does not exist.
    """
    load_graphs(config.graphs)
    models = {model.name: deployment(model, config.nodes).bind() for model in config.models}
    wrap: Any = serve.deployment
    gateway = wrap(serve.ingress()(Gateway)).options(
        name=GATEWAY,
        ray_actor_options={"num_cpus": 0.2},
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=20,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    worker = wrap(Worker).options(
        name=WORKER,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=16,  # jobs at once: a worker only waits for models
        graceful_shutdown_timeout_s=20,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    return gateway.bind(config, models, worker.bind(config, models))


def deployment(model: ModelConfig, nodes: Sequence[NodeConfig]) -> serve.Deployment:
    """A model as a Serve deployment with the needs its backend declares; a profile overrides each of them."""
    backend = load_backend(model.backend)
    needs = backend.needs
    wrap: Any = serve.deployment
    return wrap(_replica(backend)).options(
        name=model.name,
        user_config={},  # so that `reconfigure` is called, and the model loaded, even where the profile has none
        ray_actor_options=_resources(model, needs, nodes),
        max_ongoing_requests=needs.concurrency,
        max_queued_requests=64 * needs.concurrency,
        # No autoscaling here: set in code, it would silently outlive a `num_replicas` in the profile (Ray 2.60).
        max_constructor_retry_count=3,
        health_check_period_s=5,
        logging_config=LoggingConfig(enable_access_log=False),
    )


def _resources(model: ModelConfig, needs: Needs, nodes: Sequence[NodeConfig]) -> dict[str, Any]:
    """What Ray keeps for a replica; with a card, its share follows from the declared memory and is told to the process.

    Raises:
        InvalidConfig: no card is large enough.
    """
    cpus = model.cpus or needs.cpus
    share, node = gpu_share(model, nodes), node_for(model, nodes)
    if share is None or node is None:
        return {"num_cpus": cpus, "num_gpus": needs.gpus}
    options: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": share,
        "runtime_env": {"env_vars": {GPU_SHARE: str(share)}},
    }
    if node.accelerator:
        options["label_selector"] = {"ray.io/accelerator-type": node.accelerator}
    return options


def _replica(backend: type[Any]) -> type[Any]:
    """The backend as Serve wants it: `reconfigure` gets the profile's `user_config`, a dict."""

    class Replica(backend):
        async def reconfigure(self, options: dict[str, Any]) -> None:
            checked = backend.Options.model_validate(options)
            await super().reconfigure(checked)
            made_of = (
                f"{backend.__module__}:{backend.__qualname__} {checked.model_dump_json()} {_weights_stamp(checked)}"
            )
            self._revision = hashlib.sha256(made_of.encode()).hexdigest()

        async def revision(self) -> str:
            """Of all that decides an answer: the code's place, its options and its weights."""
            return self._revision

        def followed(self, method: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            """A call of `method` as those see it who want to know how far it is."""
            return following(getattr(self, method)(*args, **kwargs))

    Replica.__name__ = Replica.__qualname__ = backend.__name__
    return Replica


def _weights_stamp(options: Any) -> str:
    """Name, size and age of every file in the folders that options name: weights that change change the revision."""
    folders = [Path(weights_path(value)) for value in options.model_dump().values() if isinstance(value, str)]
    files = sorted(file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file())
    return " ".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
