"""`build(config)`: the profile's models wrapped as Serve deployments, and the gateway bound to their handles."""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from .config import GATEWAY, AppConfig, load_backend, load_graphs
from .gateway import Gateway


def build(config: AppConfig) -> Application:
    """The Serve application of a profile (`import_path: serve_app.app:build`).

    Raises:
        InvalidConfig: a backend or graph does not exist.
    """
    load_graphs(config.graphs)
    models = {model.name: deployment(model.name, load_backend(model.backend)).bind() for model in config.models}
    wrap: Any = serve.deployment
    gateway = wrap(serve.ingress()(Gateway)).options(
        name=GATEWAY,
        ray_actor_options={"num_cpus": 0.2},
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=20,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    return gateway.bind(config, models)


def deployment(name: str, backend: type[Any]) -> serve.Deployment:
    """A backend class as a Serve deployment with the needs it declares; a profile overrides each of them."""
    needs = backend.needs
    wrap: Any = serve.deployment
    return wrap(_replica(backend)).options(
        name=name,
        user_config={},  # so that `reconfigure` is called, and the model loaded, even where the profile has none
        ray_actor_options={"num_cpus": needs.cpus, "num_gpus": needs.gpus},
        max_ongoing_requests=needs.concurrency,
        max_queued_requests=64 * needs.concurrency,
        # No autoscaling here: set in code, it would silently outlive a `num_replicas` in the profile (Ray 2.60).
        max_constructor_retry_count=3,
        health_check_period_s=5,
        logging_config=LoggingConfig(enable_access_log=False),
    )


def _replica(backend: type[Any]) -> type[Any]:
    """The backend as Serve wants it: `reconfigure` gets the profile's `user_config`, a dict."""

    class Replica(backend):
        async def reconfigure(self, options: dict[str, Any]) -> None:
            await super().reconfigure(backend.Options.model_validate(options))

    Replica.__name__ = Replica.__qualname__ = backend.__name__
    return Replica
