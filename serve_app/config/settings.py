"""What the environment says: where things are kept, and secrets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.callbacks import SECRET_VARIABLE


@dataclass(frozen=True)
class Settings:
    """What comes from the environment: where things are kept, and secrets."""

    home: Path
    api_key: str | None
    database_url: str = ""  # without one: an SQLite file in `home`
    artifacts_url: str = ""  # without one: a folder in `home`
    signing_key: str | None = None  # without one: a file in `home`
    callback_secret: str | None = None  # Freepik's; without one it cannot call back

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        home = environment.get("MEDLEY_HOME") or "~/.medley"
        key = environment.get("MEDLEY_API_KEY", "").strip()  # secrets often come with a line end
        place = Path(home).expanduser().absolute()
        return cls(
            home=place,
            api_key=key or None,
            database_url=environment.get("MEDLEY_DATABASE_URL", "").strip() or f"sqlite:///{place}/medley.db",
            artifacts_url=environment.get("MEDLEY_ARTIFACTS_URL", "").strip() or str(place / "artifacts"),
            signing_key=environment.get("MEDLEY_SIGNING_KEY", "").strip() or None,
            callback_secret=environment.get(SECRET_VARIABLE, "").strip() or None,
        )

    def __repr__(self) -> str:
        return f"Settings(home={self.home})"
