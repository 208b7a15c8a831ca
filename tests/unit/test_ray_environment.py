"""The environment of a local Ray: nothing of it is shared with another Ray of the machine."""

from pathlib import Path

from serve_app.provisioning import ray_environment
from serve_app.provisioning.ray_environment import INGRESS_PORTS, local_environment

FIRST, LAST = "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"


def ports_of(environment: dict[str, str]) -> set[int]:
    """Every port that an environment names."""
    named = {int(value) for name, value in environment.items() if name.endswith("_PORT")}
    return named | set(range(int(environment[FIRST]), int(environment[LAST])))


def test_two_medleys_share_no_port_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = local_environment(tmp_path / "a")
    two = local_environment(tmp_path / "b", taken=ports_of(one))
    fixed = {8500, 9500, 30_000, 44_217, 44_227, 8404, 9101}  # Ray's defaults
    assert not ports_of(one) & fixed and len(ports_of(one)) > INGRESS_PORTS
    assert not ports_of(one) & ports_of(two)
    paths = [value for value in one.values() if value.startswith("/")]
    assert len(paths) >= 6 and all(path.startswith(str(tmp_path / "a")) for path in paths)


def test_no_port_is_one_that_the_system_gives_to_outgoing_connections(tmp_path: Path) -> None:
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(given.read_text().split()[0]) if given.exists() else 32_768
    assert max(ports_of(local_environment(tmp_path))) < first


def test_haproxy_holds_only_as_many_connections_as_files_may_be_open() -> None:
    connections = ray_environment.max_connections()
    assert 100 <= connections <= ray_environment.MAX_CONNECTIONS
