"""The doctor says what of the security page does not hold on this machine."""

from pathlib import Path

import pytest

from serve_app.config.settings import Settings
from serve_app.provisioning import doctor


def found(home: Path) -> dict[str, str]:
    return {finding.subject: finding.state for finding in doctor._security(Settings(home, None))}


def test_a_private_home_is_ok(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "api_key").write_text("secret")
    (tmp_path / "api_key").chmod(0o600)
    states = found(tmp_path)
    assert states["MEDLEY_HOME is private"] == states["api_key is private"] == "ok"


@pytest.mark.parametrize(
    ("home", "key", "content", "subject"),
    [
        (0o777, 0o600, "secret", "MEDLEY_HOME is private"),
        (0o700, 0o644, "secret", "api_key is private"),
        (0o700, 0o600, "", "api_key is private"),
    ],
)
def test_what_others_may_change_or_read_is_bad(tmp_path: Path, home: int, key: int, content: str, subject: str) -> None:
    (tmp_path / "api_key").write_text(content)
    (tmp_path / "api_key").chmod(key)
    tmp_path.chmod(home)
    assert found(tmp_path)[subject] == "bad"


def test_a_ray_without_a_token_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert found(tmp_path)["RAY_AUTH_MODE"] == "bad"
