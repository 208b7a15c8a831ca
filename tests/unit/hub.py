"""A hub on loopback, as huggingface_hub asks it: what a repository has at a revision, and its files."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "a" * 40
REQUEST = "Root=1-67-request"  # the id that the hub gives a request, and errors repeat
Files = dict[str, bytes]


@contextmanager
def hub(repositories: dict[str, Files], damaged: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the paths of the files that were fetched. Files in `damaged` are sent with a byte changed."""
    fetched = list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = unquote(self.path.partition("?")[0])
            api = path.startswith("/api/models/")
            name, _, rest = path.removeprefix("/api/models").removeprefix("/").partition("/resolve/")
            if api:
                name, _, rest = re.sub("/(revision|tree)/", "/resolve/", name).partition("/resolve/")
            files = repositories.get(name)
            revision, _, file = rest.partition("/")
            if files is None:
                self._missing("RepoNotFound", body)
            elif (revision or "main") not in (COMMIT, "main"):
                self._missing("RevisionNotFound", body)
            elif api:
                answer: object = _tree(files) if "/tree/" in path else _listing(name, files)
                self._send(200, json.dumps(answer).encode(), {}, body)
            elif file not in files:
                self._missing("EntryNotFound", body)
            else:
                self._send_file(file, files[file], body)

        def _send_file(self, file: str, data: bytes, body: bool) -> None:
            headers = {"etag": f'"{hashlib.sha256(data).hexdigest()}"', "x-repo-commit": COMMIT}
            if body:
                fetched.append(file)
            if file in damaged:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self._send(200, data, headers, body)

        def _missing(self, code: str, body: bool) -> None:
            self._send(404, b"{}", {"x-error-code": code, "x-request-id": REQUEST}, body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()


def _tree(files: Files) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"type": "file", "path": file, "size": len(data), "oid": "0" * 40} for file, data in files.items()
    ]
    return [row | {"lfs": _large(files[str(row["path"])])} if _is_large(str(row["path"])) else row for row in rows]


def _is_large(file: str) -> bool:
    return file.endswith((".safetensors", ".bin"))


def _large(data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"sha256": digest, "oid": digest, "size": len(data), "pointerSize": 1}


def _listing(name: str, files: Files) -> dict[str, object]:
    siblings = [
        {"rfilename": file, "size": len(data), **({"lfs": _large(data)} if _is_large(file) else {})}
        for file, data in files.items()
    ]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
