"""Who is calling. One API key so far: the seam for accounts is `Authenticator`."""

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
    """Finds the identity of a credential."""

    async def identify(self, credential: bytes) -> Identity | None:
        """The identity that a credential stands for, or None if it is nobody's. Takes the same time either way."""
        ...


class SingleKey:
    """One key for one user, `local`."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._identity = Identity("local")

    async def identify(self, credential: bytes) -> Identity | None:
        # Digests have one length, so the comparison tells nothing of the key's.
        matches = hmac.compare_digest(hashlib.sha256(credential).digest(), self._digest)
        return self._identity if matches else None


def key_path(settings: Settings) -> Path:
    return settings.home / KEY_FILE


def open_key(settings: Settings) -> tuple[str, bool]:
    """The API key, and whether it was made just now: from MEDLEY_API_KEY, else a file only its owner reads."""
    if settings.api_key:
        return settings.api_key, False
    return open_secret(key_path(settings), lambda: f"medley-{secrets.token_urlsafe(32)}")
