"""Secrets in files, and the folder that holds them, which nobody but their owner may change."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidConfig


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter, unless it exists.

    Raises:
        InvalidConfig: somebody else owns the folder or may write into it, and so could replace a secret.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0):
        raise InvalidConfig(f"{folder} belongs to another user. Set MEDLEY_HOME to a folder of your own.")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise InvalidConfig(f"Others may write into {folder}. Close it with: chmod go-w {folder}")


def open_secret(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The secret in a file that only its owner can read, and whether this call created the file.

    Several processes may start at once: the file appears complete or not at all, and the first process wins.

    Raises:
        InvalidConfig: the file is empty or another user's, or its folder is not private.
    """
    private_folder(path.parent)
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
    if path.stat().st_uid not in (os.getuid(), 0):
        raise InvalidConfig(f"{path} belongs to another user. Delete it; the next start makes a new one.")
    path.chmod(0o600)
    secret = path.read_text().strip()
    if not secret:  # anybody could sign with it
        raise InvalidConfig(f"{path} is empty. Delete it; the next start makes a new one.")
    return secret, made
