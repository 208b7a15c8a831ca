"""What makes two replicas answer alike: code, options and weights."""

from pathlib import Path

from deployments import BACKENDS
from serve_app.replicas.replica import revision_of


def test_a_revision_changes_with_weights_wherever_options_name_them(tmp_path: Path) -> None:
    painter = BACKENDS["diffusers"]
    (tmp_path / "ink").mkdir()
    file = tmp_path / "ink" / "model.safetensors"
    file.write_bytes(b"one")
    options = painter.Options(weights="org/painter", adapters={"ink": {"weights": str(tmp_path / "ink")}})
    before = revision_of(painter, options)
    assert revision_of(painter, options) == before
    file.write_bytes(b"another")
    assert revision_of(painter, options) != before
    other = painter.Options(weights="org/painter")
    assert revision_of(painter, other) not in (before, revision_of(painter, options))
