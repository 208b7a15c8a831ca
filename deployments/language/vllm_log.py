"""Why a vLLM engine did not start: it runs in processes of its own, which tell the reason to nothing but their log."""

import json
import os
import re
from pathlib import Path

from ..engine import FULL

RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)")  # the last line of a traceback
TOO_FULL = re.compile(
    FULL.pattern + r"|no available memory|free memory on|available memory on|available KV cache memory",
    re.IGNORECASE,
)


def log_into(folder: Path) -> str:
    """Write the logging configuration for an engine that also leaves its errors in `folder`; returns its path.

    Warnings go to the replica's log, more of it if VLLM_LOGGING_LEVEL says so. The folder may go once the engine runs.
    """
    level = os.environ.get("VLLM_LOGGING_LEVEL", "WARNING")
    handlers = {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "level": level},
        "errors": {"class": "logging.FileHandler", "filename": str(folder / "errors.log"), "level": "ERROR"},
    }
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s %(asctime)s [%(name)s] %(message)s"}},
        "handlers": handlers,
        "loggers": {"vllm": {"handlers": list(handlers), "level": level, "propagate": False}},
    }
    path = folder / "logging.json"
    path.write_text(json.dumps(config))
    return str(path)


def first_cause(folder: Path) -> str | None:
    """What the first error in the engine's log says; those after it follow from it."""
    log = folder / "errors.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((found[1] for found in map(RAISED.match, lines) if found), None)
