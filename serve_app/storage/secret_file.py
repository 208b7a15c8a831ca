"""Secrets in files that only their owner can read."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def open_secret(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The secret in a file that only its owner can read, and whether this call created the file.

    Several processes may start at once: the file appears complete or not at all, and the first process wins.
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
