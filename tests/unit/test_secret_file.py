"""Secrets in files: nobody but their owner can have written them, and none is empty."""

import os
from pathlib import Path

import pytest

from serve_app.config.settings import Settings
from serve_app.errors import InvalidConfig
from serve_app.provisioning import local_cluster
from serve_app.storage.artifacts import open_signing_key
from serve_app.storage.database import Database
from serve_app.storage.secret_file import open_secret, private_folder

OTHER = 65534


@pytest.mark.parametrize("content", ["", "\n", "  \n"])
def test_an_empty_secret_is_refused(tmp_path: Path, content: str) -> None:
    settings = Settings(tmp_path, None)
    (tmp_path / "signing_key").write_text(content)
    with pytest.raises(InvalidConfig, match="is empty"):
        open_signing_key(settings)


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o770])
def test_a_folder_that_others_may_change_is_refused(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(InvalidConfig, match="chmod go-w"):
        open_secret(home / "api_key", lambda: "secret")
    with pytest.raises(InvalidConfig, match="chmod go-w"):
        local_cluster.prepare(Settings(home, None), 1, 2)
    assert list(home.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api_key"
    path.write_text("planted")
    os.chown(path, OTHER, OTHER)
    with pytest.raises(InvalidConfig, match="belongs to another user"):
        open_secret(path, lambda: "secret")
    os.chown(tmp_path, OTHER, OTHER)
    with pytest.raises(InvalidConfig, match="belongs to another user"):
        private_folder(tmp_path)
    os.chown(tmp_path, 0, 0)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "medley.db"
    path.write_bytes(content)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(InvalidConfig, match="is damaged") as raised:
        database.upgrade()
    database.dispose()
    assert str(path) in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_a_database_of_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/medley.db")
    database.upgrade()
    database.write_here(lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9'"))
    with pytest.raises(InvalidConfig, match="newer Medley"):
        database.upgrade()
    database.dispose()


def test_a_ray_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def late(**options: object) -> None:
        raise Exception("Traceback ...\nThe current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(Exception, match="Ray did not start: The current node timed out") as raised:
        local_cluster._start_ray(tmp_path, 1)
    assert len(str(raised.value).splitlines()) == 1
