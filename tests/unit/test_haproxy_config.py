"""The corrections of HAProxy's configuration, on the configuration that the installed Ray makes."""

import re
import subprocess
from pathlib import Path

import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from serve_app.provisioning.haproxy_config import corrected
from serve_app.provisioning.ray_environment import haproxy_binary


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    """Ray's own, for a service with one gateway."""
    gateway = BackendConfig("medley", "/", servers=[ServerConfig("one", "127.0.0.1", 20_001)], app_name="medley")
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=20_000),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "server-state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        metrics_port=20_002,
    )
    proxy = HAProxyApi(config, {"medley": gateway}, str(tmp_path / "haproxy.cfg"))
    proxy._generate_config_file_internal()
    return (tmp_path / "haproxy.cfg").read_text()


def test_haproxy_accepts_the_corrected_configuration(configuration: str, tmp_path: Path) -> None:
    file = tmp_path / "corrected.cfg"
    file.write_text(corrected(configuration, 1000))
    checked = subprocess.run([haproxy_binary(), "-c", "-f", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert corrected(file.read_text(), 1000) == file.read_text()


def test_every_correction_still_matches_what_ray_writes(configuration: str) -> None:
    result = corrected(configuration, 1000)
    assert "level admin" in configuration and "level admin" not in result
    assert re.search(r"stats socket \S+ mode 600 level operator", result)
    assert re.search(r"bind :\d+", configuration) and not re.search(r"bind [*]?:", result)
    assert "splice-request" in configuration and "splice-request" not in result
    assert "errorfile" in configuration and "errorfile" not in result
    assert result.count("timeout http-request") == result.count("timeout client ") == 1
    frontend = result.partition("frontend http_frontend")[2].partition("\nbackend")[0]
    assert "sc0_conn_cur gt 1000" in frontend and "del-header x-request-disconnect-disabled" in frontend
