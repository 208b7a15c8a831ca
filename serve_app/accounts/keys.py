"""Authentication of callers. There is one API key so far; `Authenticator` is the seam for accounts."""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Protocol

from ..config.settings import Settings
from ..identity import Identity
from ..storage.secret_file import open_secret

KEY_FILE = "api_key"


class Authenticator(Protocol):
    """An object that finds the identity of a credential."""

    async def identify(self, credential: bytes) -> Identity | None:
        """The identity of a credential, or None if it is unknown. Takes the same time either way."""
        ...


class SingleKey:
    """The authenticator with one key for one user, `local`."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._identity = Identity("local")

    async def identify(self, credential: bytes) -> Identity | None:
        # Digests have the same length, so the comparison reveals nothing about the key's length.
        matches = hmac.compare_digest(hashlib.sha256(credential).digest(), self._digest)
        return self._identity if matches else None


def key_path(settings: Settings) -> Path:
    return settings.home / KEY_FILE


def open_key(settings: Settings) -> tuple[str, bool]:
    """The API key, and whether this call created it: MEDLEY_API_KEY, else the content of a file in MEDLEY_HOME."""
    if settings.api_key:
        return settings.api_key, False
    return open_secret(key_path(settings), lambda: f"medley-{secrets.token_urlsafe(32)}")
