"""The Serve application: a profile's models wrapped as deployments, and the gateway bound to their handles."""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from deployments.backend import GPU_MEMORY, Needs

from .config.loading import check_names, load_backend, load_graphs
from .config.multiplexing import check_multiplexing, multiplexed
from .config.placement import gpu_fraction, node_for
from .config.schema import GATEWAY, WORKER, AppConfig, ModelConfig, NodeConfig
from .gateway.deployment import Gateway
from .jobs.worker import Worker
from .replicas.multiplexed import multiplexed_replica
from .replicas.replica import replica


def build(config: AppConfig) -> Application:
    """The Serve application of a profile (`import_path: serve_app.app:build`).

    Raises:
        InvalidConfig: a backend or graph does not exist, or models cannot be multiplexed as the profile says.
    """
    check_names(config, load_graphs(config.graphs), "args")
    backends = {model.name: load_backend(model.backend) for model in config.models}
    check_multiplexing(config.models, backends, "args.models")
    by_host = multiplexed(config.models)
    models = {
        model.name: deployment(model, config.nodes, by_host.get(model.name, ())).bind()
        for model in config.models
        if model.host is None
    }
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


def deployment(model: ModelConfig, nodes: Sequence[NodeConfig], others: Sequence[ModelConfig] = ()) -> serve.Deployment:
    """A model as a Serve deployment with the needs its backend declares; a profile overrides each of them.

    Args:
        others: the models that are multiplexed in its replicas.
    """
    backend = load_backend(model.backend)
    needs = backend.needs
    user_configs = {other.name: other.user_config for other in others}
    sees_gpus = needs.gpus > 0 or model.gpu_memory_gib is not None or not nodes  # without declared nodes, any GPU
    replica_class = (
        multiplexed_replica(backend, model.name, user_configs, model.max_loaded, sees_gpus)
        if others
        else replica(backend, sees_gpus)
    )
    wrap: Any = serve.deployment
    return wrap(replica_class).options(
        name=model.name,
        user_config={},  # Serve then calls `reconfigure`, which loads the model, even if the profile sets none
        ray_actor_options=_resources(model, needs, nodes),
        max_ongoing_requests=needs.concurrency,
        max_queued_requests=64 * needs.concurrency,
        # No autoscaling here: set in code, it would silently outlive a `num_replicas` in the profile (Ray 2.60).
        max_constructor_retry_count=3,
        health_check_period_s=5,
        logging_config=LoggingConfig(enable_access_log=False),
    )


def _resources(model: ModelConfig, needs: Needs, nodes: Sequence[NodeConfig]) -> dict[str, Any]:
    """The resources Ray reserves for a replica; the GPU fraction follows from the declared memory, which the process
    gets in its environment.

    Raises:
        InvalidConfig: no GPU is large enough.
    """
    cpus = model.cpus or needs.cpus
    fraction, node = gpu_fraction(model, nodes), node_for(model, nodes)
    if fraction is None or node is None:
        return {"num_cpus": cpus, "num_gpus": needs.gpus}
    options: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": fraction * model.gpus,
        "runtime_env": {"env_vars": {GPU_MEMORY: str(model.gpu_memory_gib)}},
    }
    if node.accelerator:
        options["label_selector"] = {"ray.io/accelerator-type": node.accelerator}
    return options
