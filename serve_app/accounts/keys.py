"""Who is calling. One API key so far: the seam for accounts is `Authenticator`."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config import Settings

KEY_FILE = "api_key"


@dataclass(frozen=True)
class Identity:
    """The user a request acts for."""

    user: str


class Authenticator(Protocol):
    """Tells who a credential belongs to."""

    def identify(self, credential: bytes) -> Identity | None:
        """The owner of the key, or None if it is nobody's. Takes the same time either way."""
        ...


class SingleKey:
    """One key for one user, `local`."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._identity = Identity("local")

    def identify(self, credential: bytes) -> Identity | None:
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


def open_secret(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The secret in a file only its owner reads, and whether it was made just now.

    Several processes may start at once; the file appears complete or not at all, and the first one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = False
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{make()}\n")
        try:
            os.link(draft, path)
            made = True
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    path.chmod(0o600)
    return path.read_text().strip(), made
