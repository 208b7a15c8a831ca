"""The settings in the environment: where data is kept, and secrets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.backend import WEIGHTS_FOLDER
from deployments.callbacks import SECRET_VARIABLE
from deployments.errors import MedleyError


@dataclass(frozen=True)
class Settings:
    """The settings in the environment: where data is kept, and secrets."""

    home: Path
    api_key: str | None
    database_url: str = ""  # empty: an SQLite file in `home`
    artifacts_url: str = ""  # empty: a folder in `home`
    signing_key: str | None = None  # None: a key in a file in `home`
    callback_secret: str | None = None  # Freepik's; None: Freepik cannot call back
    weights_folder: Path | None = None  # of weights that are no part of Medley; None: a folder in `home`

    @property
    def weights(self) -> Path:
        """The folder of weights that are no part of Medley."""
        return self.weights_folder or self.home / "weights"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The settings of this process.

        Raises:
            MedleyError: the home is in the home of a user that does not exist.
        """
        home = environment.get("MEDLEY_HOME") or "~/.medley"
        key = environment.get("MEDLEY_API_KEY", "").strip()  # secrets often end with a newline
        try:
            folder = Path(home).expanduser().absolute()
        except RuntimeError:
            raise MedleyError(f"MEDLEY_HOME is {home}, but there is no such user. Name a folder.") from None
        return cls(
            home=folder,
            api_key=key or None,
            database_url=environment.get("MEDLEY_DATABASE_URL", "").strip() or f"sqlite:///{folder}/medley.db",
            artifacts_url=environment.get("MEDLEY_ARTIFACTS_URL", "").strip() or str(folder / "artifacts"),
            signing_key=environment.get("MEDLEY_SIGNING_KEY", "").strip() or None,
            callback_secret=environment.get(SECRET_VARIABLE, "").strip() or None,
            weights_folder=Path(weights).expanduser() if (weights := environment.get(WEIGHTS_FOLDER)) else None,
        )

    def __repr__(self) -> str:
        return f"Settings(home={self.home})"
