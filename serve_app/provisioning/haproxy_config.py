"""Corrections of the HAProxy configuration that Ray 2.60 writes. HAProxy's wrapper runs this file on each configuration
before HAProxy reads it, so it imports nothing but the standard library:

    python haproxy_config.py FILE CONNECTIONS_PER_ADDRESS
"""

import json
import re
import sys
from pathlib import Path

MARK = "# Corrected by Medley, see haproxy_config.py\n"
HEADERS_TIMEOUT_S = 5  # in which a client has to send a request's headers; Ray sets no limit
SILENCE_TIMEOUT_S = 60  # for which a client may neither send nor take any byte of a transfer; Ray sets an hour

# Each pattern with its replacement. If Ray's template changes and a pattern matches nothing,
# `tests/unit/test_haproxy_config.py` fails: it corrects the configuration that Ray makes.
CORRECTIONS = (
    # Statistics and metrics, which Ray binds to every interface, are bound to loopback.
    (r"^( *bind )[*]?:", r"\g<1>127.0.0.1:"),
    # With it, HAProxy does not notice that a client has left if its body came in a separate packet (measured, 2.8.25),
    # and the run would go on to its end.
    (r"^ *option splice-request\n", ""),
    # Anyone on the machine could reconfigure the proxy over this socket. Ray only reads from it.
    (r"^( *stats socket \S+) mode 666 level admin", r"\g<1> mode 600 level operator"),
    # Ray turns every failure of a gateway into a 500 without a reason.
    (r"^ *(timeout client|errorfile) .*\n", ""),
)
DEFAULTS = f"""
    timeout http-request {HEADERS_TIMEOUT_S}s
    timeout client {SILENCE_TIMEOUT_S}s
"""
FAILURES = {  # the title and the detail of the errors that HAProxy makes itself
    400: ("Malformed request", "This is not valid HTTP, or its headers are larger than 16 KB."),
    408: ("Request timeout", f"The headers did not arrive within {HEADERS_TIMEOUT_S} s."),
    502: ("Bad gateway", "The gateway closed the connection. Send the request again if it may be repeated."),
    503: ("Service unavailable", "No gateway takes requests at the moment. Send the request again in a few seconds."),
    504: ("Gateway timeout", "The gateway did not answer in time."),
}
# One address cannot use up the connections of all. Headers with which Ray lets callers steer its own work are removed,
# and so is an id that Ray could not decode (it answers such a request with a 500).
FRONTEND = r"""
    stick-table type ipv6 size 100k expire 1m store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt {per_address} }}
    http-request del-header x-request-disconnect-disabled
    http-request del-header x-request-timeout-seconds
    http-request del-header serve_multiplexed_model_id
    http-request del-header serve-multiplexed-model-id
    http-request del-header x-request-id if {{ req.hdr_cnt(x-request-id) gt 1 }}
    http-request del-header x-request-id if !{{ req.fhdr(x-request-id) -m reg ^[A-Za-z0-9_.:-]{{1,128}}$ }}
"""


def corrected(configuration: str, per_address: int) -> str:
    """The configuration with every correction; a corrected one stays as it is.

    Args:
        per_address: connections that one address may have at once.
    """
    if configuration.startswith(MARK):
        return configuration
    for pattern, replacement in CORRECTIONS:
        configuration = re.sub(pattern, replacement, configuration, flags=re.MULTILINE)
    defaults = DEFAULTS + "".join(_failure(status, *reason) for status, reason in FAILURES.items())
    configuration = _inserted(configuration, r"^defaults\n", defaults)
    frontend = FRONTEND.format(per_address=per_address)
    return MARK + _inserted(configuration, r"^frontend http_frontend\n *bind .*\n", frontend)


def _inserted(configuration: str, after: str, lines: str) -> str:
    return re.sub(after, lambda match: match[0] + lines.lstrip("\n"), configuration, count=1, flags=re.MULTILINE)


def _failure(status: int, title: str, detail: str) -> str:
    """A line that gives HAProxy's own error the form of all others (RFC 9457)."""
    problem = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    again = ' hdr retry-after "2"' if status == 503 else ""
    return f"    http-error status {status} content-type application/problem+json string '{problem}'{again}\n"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(corrected(file.read_text(), int(sys.argv[2])))
