"""Where a provider is, and the key that it gets: nothing leaves in the clear, and no key is shown."""

import ipaddress
import os

import httpx

from .errors import ModelUnavailable


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL writes it, is this machine and needs no TLS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_base(base_url: str, field: str = "base_url") -> httpx.URL:
    """The URL where a provider's API begins, which is safe to send a key to.

    Args:
        field: what the options call it.

    Raises:
        ModelUnavailable: it is no URL, has a password in it, or would send the key in the clear.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ModelUnavailable(f"{field} is not a URL: {error}") from None
    if not url.host or url.userinfo or url.query:
        raise ModelUnavailable(f"{field} names a host and a path, and neither a user nor a query")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise ModelUnavailable(f"{field} is {url.scheme}://{url.host}; only https, or http on loopback, is safe")
    return url


def key_of(variable: str | None) -> str:
    """The key in an environment variable; "" without a variable.

    Raises:
        ModelUnavailable: the variable is not set.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()  # secrets often come with a line end
    if not key:
        raise ModelUnavailable(f"the environment variable {variable} has no key")
    if not key.isascii() or not key.isprintable():
        raise ModelUnavailable(f"the environment variable {variable} has characters that no key has")
    return key
