"""Several weights in one deployment: they take turns in its memory, and one that cannot load harms no other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.backends.weights import CHAT, byte_tokenizer, llama

from .live import Live, profile_document, started

OPTIONS = {"max_tokens": 8, "temperature": 0, "threads": 1}


def write_weights(folder: Path, seed: int) -> Path:
    """A Llama of some 115 MB in float32."""
    import torch

    tokenizer = byte_tokenizer(CHAT)
    torch.manual_seed(seed)
    llama(tokenizer, hidden_size=768, intermediate_size=6144).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Medley with one deployment for three models, the last of which has no weights."""
    folder = tmp_path_factory.mktemp("shared")
    weights = {name: str(write_weights(folder / name, seed)) for seed, name in enumerate(("writer", "twin"))}
    document = profile_document()
    application = document["applications"][0]
    missing = {**OPTIONS, "weights": str(folder / "missing")}
    application["args"]["models"] = [
        {"name": "writer", "backend": "transformers"},
        {
            "name": "twin",
            "backend": "transformers",
            "host": "writer",
            "user_config": {**OPTIONS, "weights": weights["twin"]},
        },
        {"name": "broken", "backend": "transformers", "host": "writer", "user_config": missing},
    ]
    application["deployments"] = [
        {"name": "gateway", "ray_actor_options": {"num_cpus": 0.2}},
        {
            "name": "writer",
            "ray_actor_options": {"num_cpus": 0.3},
            "user_config": {**OPTIONS, "weights": weights["writer"]},
        },
    ]
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with started(tmp_path_factory.mktemp("home"), path) as service:
        yield service


def chat(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.post("/v1/chat/completions", json=body)


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_both_answer_in_turns_from_one_process_whose_memory_holds_one(shared: Live) -> None:
    (pid,) = shared.pids()["writer"]
    process, found, resident = psutil.Process(pid), list[dict[str, str]](), dict[str, list[float]]()
    with shared.client() as client:
        for _ in range(3):
            found.append({})
            for name in ("writer", "twin"):
                found[-1][name] = text(chat(client, name))
                resident.setdefault(name, []).append(process.memory_info().rss / 1e6)
        streamed = chat(client, "twin", stream=True)
        assert streamed.status_code == 200 and "[DONE]" in streamed.text
    print("resident MB of the replica after each answer:", resident)
    assert found[0] == found[1] == found[2]
    assert found[0]["writer"] != found[0]["twin"]
    assert set(shared.pids()) == {"gateway", "worker", "writer"} and shared.pids()["writer"] == {pid}
    # The weights are 115 MB: a second copy beside the first, or one that is never freed, would show.
    assert max(resident["twin"][1:]) - resident["writer"][1] < 60
    assert resident["writer"][-1] - resident["writer"][1] < 60


def test_all_of_them_are_models_with_their_host_s_health(shared: Live) -> None:
    with shared.client() as client:
        rows = {row["name"]: row for row in client.get("/health").json()["models"]}
        assert list(rows) == ["writer", "twin", "broken"]
        assert {row["status"] for row in rows.values()} == {"HEALTHY"}
        for path, key in (("/api/v1/models", "models"), ("/v1/models", "data")):
            listed = [row.get("name") or row["id"] for row in client.get(path).json()[key]]
            assert listed == ["writer", "twin", "broken"]


def test_one_that_cannot_be_loaded_is_a_503_with_the_reason_and_the_others_go_on(shared: Live) -> None:
    pids = shared.pids()
    with shared.client() as client:
        before = text(chat(client, "writer"))
        for _ in range(2):
            answer = chat(client, "broken")
            assert answer.status_code == 503, answer.text
            assert "broken: cannot be loaded" in answer.text and "missing" in answer.text
            assert text(chat(client, "writer")) == before
        assert text(chat(client, "twin")) != before
        shared.until_ready(5)
    assert shared.pids() == pids  # no replica was restarted


def test_a_notebook_s_handles_reach_each_of_them(shared: Live, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = '{"messages": [{"role": "user", "content": "Hello"}], "models": {"writer": "%s"}}'
    rows.write_text("\n".join(line % name for name in ("writer", "twin", "broken")))
    ran = shared.medley("batch", "chat", "--input", str(rows), "--output", str(tmp_path / "output"))
    errors = (tmp_path / "output" / "errors.jsonl").read_text()
    assert "broken: cannot be loaded" in errors and len(errors.splitlines()) == 1, ran.stdout + ran.stderr + errors
