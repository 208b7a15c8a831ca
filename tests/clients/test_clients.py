"""Each client with each cell. A cell that a client cannot have is skipped, with the reason."""

from importlib import import_module

import pytest

from . import nodejs
from .cells import CELLS, Service

IN_PYTHON = (
    "openai_python",
    "langchain",
    "llama_index_client",
    "litellm_client",
    "instructor_client",
    "pydantic_ai_client",
    "semantic_kernel_client",
    "llm_client",
)
FOR_NODE = ("openai", "ai-sdk")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("client", IN_PYTHON)
def test_python(client: str, cell: str, service: Service) -> None:
    module = import_module(f".{client}", __package__)
    if cell in module.REASONS:
        assert not hasattr(module, cell), "a reason, and yet it can"
        pytest.skip(module.REASONS[cell])
    CELLS[cell](getattr(module, cell)(service))


@pytest.mark.skipif(not nodejs.INSTALLED, reason="Node.js or its packages are missing")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("client", FOR_NODE)
def test_node(client: str, cell: str, service: Service) -> None:
    CELLS[cell](nodejs.result(client, cell, service))
