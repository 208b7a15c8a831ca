"""What models that take turns leave in memory, measured: run as a program with a folder, it prints JSON."""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from deployments.language.transformers import TransformersLanguage
from tests.backends.weights import CHAT, byte_tokenizer, llama, write_language_model

from .multiplexing import made, pretend_to_be_in_serve, said


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


class Highest:
    """The most that was resident since it was made, looked at every 5 ms."""

    def __init__(self) -> None:
        self.mb, self._ended = 0.0, False
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended:
            self.mb = max(self.mb, resident_mb())
            time.sleep(0.005)


def write_large(folder: Path) -> Path:
    """A Llama of some 100 MB in float32."""
    tokenizer = byte_tokenizer(CHAT)
    llama(tokenizer, hidden_size=768, intermediate_size=6144).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


async def measured(folder: Path) -> dict[str, Any]:
    options = {"max_tokens": 2, "threads": 1}
    write_language_model(folder / "host")
    multiplexed = {name: {"weights": str(write_large(folder / name)), **options} for name in ("a", "b")}
    replica = made(TransformersLanguage, multiplexed)
    await replica.reconfigure({"weights": str(folder / "host"), **options})
    for name in ("a", "host"):  # what the engine takes for its first use stays
        await said(replica, name)
    figures: dict[str, Any] = {"host_mb": resident_mb(), "rounds": []}
    highest = Highest()
    for _ in range(3):
        row = {}
        for name, key in (("a", "a_mb"), ("b", "b_mb"), ("host", "host_again_mb")):
            await said(replica, name)
            row[key] = resident_mb()
        figures["rounds"].append({**row, "highest_mb": highest.mb})
    return figures


if __name__ == "__main__":
    pretend_to_be_in_serve(setattr)
    folder = Path(sys.argv[1])
    figures = asyncio.run(measured(folder))
    size = (folder / "a" / "model.safetensors").stat().st_size / 1e6
    print(json.dumps({"weights_mb": size, **figures}))
