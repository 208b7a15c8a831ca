"""Clients that others' generators make of Medley's OpenAPI document, and a client of its event streams."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from . import nodejs
from .cells import CHAT, QUESTION, Service, picture

# What a user of the generated package writes.
PYTHON = """
import io
import sys
from made import AuthenticatedClient
from made.api.graphs import run_chat
from made.api.jobs import get_job
from made.api.artifacts import get_artifact, upload_artifact
from made.models import ChatRequestCall, ChatRequestModels, MedleyJob, Message, MessageRole, UploadArtifactFilesBody
from made.types import File

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
asked = Message(role=MessageRole.USER, content="What is the capital of France?")
call = ChatRequestCall(messages=[asked], models=ChatRequestModels(writer="smollm2"))
print(run_chat.sync(client=client, body=call, prefer="wait=60").text)
job = run_chat.sync(client=client, body=call, prefer="respond-async")
assert isinstance(job, MedleyJob), job
assert get_job.sync(job.id, client=client).graph == "chat"
picture = File(payload=io.BytesIO(bytes.fromhex(sys.argv[3])), file_name="red.png", mime_type="image/png")
kept = upload_artifact.sync(client=client, body=UploadArtifactFilesBody(file=picture))
assert get_artifact.sync_detailed(kept.id, client=client).content == bytes.fromhex(sys.argv[3])
"""
# A call with the generated types: the second is what the compiler must refuse.
TYPESCRIPT = """
import type { paths } from "./medley";
type Chat = paths["/api/v1/graphs/chat"]["post"];
type Body = Chat["requestBody"]["content"]["application/json"];
type Reply = Chat["responses"][200]["content"]["application/json"];
const body: Body = { messages: [{ role: "user", content: "Hello" }] };
// @ts-expect-error
const wrong: Body = { mesages: [] };
export const read = (reply: Reply): string => reply.text + body.messages.length + String(wrong);
"""


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_text(httpx.get(f"{service.url}/openapi.json").text)
    return path


def test_openapi_python_client_makes_a_package_that_works(service: Service, document: Path) -> None:
    folder = document.parent / "made"
    tool = str(Path(sys.executable).parent / "openapi-python-client")
    command = [tool, "generate", "--path", str(document), "--meta", "none", "--output-path", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr  # a route or a type was left out
    run = [sys.executable, "-c", PYTHON, service.url, service.key, picture().hex()]
    done = subprocess.run(run, cwd=document.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout, done.stdout


@pytest.mark.skipif(not nodejs.INSTALLED, reason="Node.js or its packages are missing")
def test_openapi_typescript_makes_types_that_hold(document: Path) -> None:
    types = document.parent / "medley.d.ts"
    # Without this option of it, what has a default would have to be given.
    options = ["--default-non-nullable=false", "--output", str(types)]
    made = ["npx", "--no-install", "openapi-typescript", str(document), *options]
    done = subprocess.run(made, cwd=nodejs.FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (document.parent / "use.ts").write_text(TYPESCRIPT)
    check = ["npx", "--no-install", "tsc", "--noEmit", "--strict", str(types), str(document.parent / "use.ts")]
    done = subprocess.run(check, cwd=nodejs.FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not nodejs.INSTALLED, reason="Node.js or its packages are missing")
def test_eventsource_ends_with_the_job(service: Service) -> None:
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}) as client:
        call = {"messages": [{"role": "user", "content": QUESTION}], "models": {"writer": CHAT}}
        job = client.post("/api/v1/graphs/chat", json=call, headers={"prefer": "respond-async"})
        assert job.status_code == 202, job.text
        events = f"{service.url}/api/v1/jobs/{job.json()['id']}/events"
    made = nodejs.script("eventsource", "events", service, events=events, kinds=["piece", "state", "succeeded", "step"])
    print(json.dumps(made)[:2000])
    assert made["connections"] == 2  # the second is answered by 204: it is over
