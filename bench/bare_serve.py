"""The same work on bare Ray Serve: a FastAPI ingress, three deployments, no authentication, no records.

python -m bench.bare_serve PORT [--knobs]
"""

import sys
import tempfile
from pathlib import Path

from serve_app.provisioning import ray_environment

port, tuned = int(sys.argv[1]), "--knobs" in sys.argv  # with Medley's environment for speed
directory = Path(tempfile.mkdtemp(prefix="bare-"))
environment = ray_environment.local_environment(directory, taken=(port,))
if not tuned:  # separate files and ports all the same, but Ray's default settings
    environment = {name: value for name, value in environment.items() if name not in ray_environment.SPEED}
ray_environment.apply(environment)

import ray  # noqa: E402  (after its environment)
from fastapi import FastAPI  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.handle import DeploymentHandle  # noqa: E402

api = FastAPI()


class Text(BaseModel):
    text: str


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=100)
class Step:
    async def __call__(self, text: str) -> str:
        return text


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=1000)
@serve.ingress(api)
class Ingress:
    def __init__(self, *steps: DeploymentHandle) -> None:
        self.steps = steps

    @api.get("/trivial")
    async def trivial(self) -> dict[str, str]:
        return {"user": "local"}

    @api.post("/chain")
    async def chain(self, request: Text) -> Text:
        text = request.text
        for step in self.steps:
            text = await step.remote(text)
        return Text(text=text)


if __name__ == "__main__":
    import shutil

    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(directory / "ray"),
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Ingress.bind(*(Step.options(name=f"step-{n}").bind() for n in (1, 2, 3))), blocking=True)
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
