"""What another user of the same machine can do to a running Medley: tried as another user, on every file and port."""

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from serve_app.provisioning.ray_environment import ray_token_path

from .live import Live

NOBODY = 65534
PUBLIC = b"HTTP/1.1 200"
# What anyone may read: counters of Ray and HAProxy in Prometheus' format, which hold neither keys nor prompts.
METRICS = (b"# HELP", b"# TYPE")
REPLICA_CALL = "/ray.serve.ASGIService/HandleRequest"  # of Serve's replicas, which unpickle what they get
CALLS = (  # of every kind of process that Ray starts
    REPLICA_CALL,
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.serve.RayServeAPIService/ListApplications",
)


@pytest.fixture(scope="module")
def processes(live: Live) -> list[psutil.Process]:
    """The processes of the running Medley."""
    root = psutil.Process(live.state.pid)
    return [root, *root.children(recursive=True)]


def as_nobody(function: Callable[[], Any]) -> Any:
    """The answer of a function, as JSON, called by a process of another user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answer:
        return json.loads(answer.read())


def readable(paths: list[Path]) -> list[str]:
    """Those of the files and folders that the calling user can open."""
    opened: list[str] = []
    for path in paths:
        with contextlib.suppress(OSError):
            os.listdir(path) if path.is_dir() else path.open("rb").close()
            opened.append(str(path))
    return opened


def connectable(paths: list[str]) -> list[str]:
    """Those of the Unix sockets that the calling user can connect to."""
    connected: list[str] = []
    for path in paths:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as client:
                client.connect(path)
                connected.append(path)
    return connected


def listening(processes: list[psutil.Process]) -> Iterator[tuple[str, int]]:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield str(connection.laddr[0]), int(connection.laddr[1])


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_another_user_opens_no_file(live: Live) -> None:
    folder = live.folder
    files = [*live.home.rglob("*"), *folder.rglob("*"), live.home, folder, ray_token_path()]
    assert (
        len(files) > 50
    )  # keys, database, artifacts, HAProxy's configuration and start script, Ray's logs and sockets
    assert as_nobody(lambda: readable([Path("/etc/passwd")])) == ["/etc/passwd"]
    assert as_nobody(lambda: readable(files)) == []


@needs_root
def test_another_user_connects_to_no_unix_socket(live: Live) -> None:
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    sockets = sorted({row[7] for row in rows if len(row) > 7 and str(live.folder) in row[7]})
    assert len(sockets) > 3  # HAProxy's, the object store's, raylet's, the dashboard's
    assert connectable(sockets)
    assert as_nobody(lambda: connectable(sockets)) == []


def test_the_admin_socket_of_haproxy_only_reads(live: Live) -> None:
    (path,) = [path for path in live.folder.rglob("haproxy.sock") if stat.S_ISSOCK(path.stat().st_mode)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"set global-key x y\ndisable frontend http_frontend\n")
        assert b"Permission denied" in client.recv(4096) or b"denied" in client.recv(4096)


def test_every_port_is_loopback_or_needs_rays_token(processes: list[psutil.Process]) -> None:
    ports = sorted(set(listening(processes)))
    assert len(ports) > 10
    everywhere = [port for address, port in ports if address in ("::", "0.0.0.0")]
    for port in everywhere:  # Serve's own calls between replicas (Ray 2.60 offers no other address)
        assert code_without_token(port, REPLICA_CALL) == grpc.StatusCode.UNAUTHENTICATED, port


def test_no_port_answers_without_a_key(live: Live, processes: list[psutil.Process]) -> None:
    answers: dict[int, bytes] = {}
    for _, port in sorted(set(listening(processes))):
        codes = {code_without_token(port, call) for call in CALLS}
        assert grpc.StatusCode.OK not in codes, port
        if grpc.StatusCode.UNAUTHENTICATED in codes:
            continue
        for path in ("/", "/api/v0/actors", "/api/serve/applications/", "/api/jobs/", "/logs", "/nodes", "/metrics"):
            answer = http(port, path)
            if answer.startswith(PUBLIC) and not any(mark in answer for mark in METRICS):
                answers[port] = path.encode() + b" " + answer[:500]
    ours = int(live.state.dashboard.rsplit(":", 1)[1])
    page = answers.pop(ours, b"")  # the dashboard's page itself; each of its questions needs the token
    assert page.startswith(b"/ ") or not page
    assert answers == {}


def code_without_token(port: int, method: str) -> grpc.StatusCode:
    """The status of a gRPC call without Ray's token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(method)
        try:
            call(b"", timeout=3)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()  # pyright: ignore[reportAttributeAccessIssue]  # a Call too, which its type leaves out


def http(port: int, path: str) -> bytes:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=3) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        client.settimeout(3)
        received = b""
        while len(received) < 65_536 and (part := client.recv(65_536)):
            received += part
        return received
    return b""
