"""The public names are these, and each comes when it is used."""

import subprocess
import sys

import pytest

import serve_app


def test_the_public_names_are_these() -> None:
    assert serve_app.__all__ == ["Medley", "build", "graph"]
    for name in serve_app.__all__:
        found = getattr(serve_app, name)
        assert (found.__name__, found.__module__.startswith("serve_app.")) == (name, True)


def test_graph_is_the_decorator_and_not_its_module() -> None:
    code = "from serve_app import graph; import sys; print(callable(graph), 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Medly'"):
        _ = serve_app.Medly
