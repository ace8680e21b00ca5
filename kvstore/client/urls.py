"""Addresses of requests: how a key stands in a URL, and what a gateway's base URL may be.

Guarantees: the server decodes the path of a key to exactly the bytes given, whatever they are (`..`, `//`, a trailing
slash, bytes that are no text), because every byte that a URL library or proxy could rewrite is percent-encoded.
Leaves to others: sending. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_from_bytes, urlsplit

from kvstore.keys import check_key

# The path below which the keys of the default keyspace are.
ROOT = "/v1"
DEFAULT_KEYSPACE = "default"


def key_bytes(key: str | bytes) -> bytes:
    """The bytes of a key, text as UTF-8.

    Raises:
        BadKey: it is empty.
        KeyTooLong: it is longer than a key may be.
    """
    return check_key(key.encode() if isinstance(key, str) else key)


def encode_key(key: bytes) -> str:
    """Percent-encode a key for a path. A slash stays a slash only between segments that no one folds away."""
    encoded = quote_from_bytes(key, safe="/")
    segments = encoded.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        return quote_from_bytes(key, safe="").replace(".", "%2E")
    return encoded


def key_path(key: str | bytes, root: str = ROOT) -> str:
    """The path of a key below the path of its keyspace; raises as `key_bytes`."""
    return f"{root}/kv/{encode_key(key_bytes(key))}"


def keyspace_path(name: str) -> str:
    """The path below which the keys of a keyspace are."""
    return ROOT if name == DEFAULT_KEYSPACE else f"{ROOT}/keyspaces/{quote_from_bytes(name.encode(), safe='')}"


def query_of(parameters: Mapping[str, bytes | str | int | bool | None]) -> str:
    """A query string of those parameters that are neither None nor False, empty where there are none."""
    stated = {name: value for name, value in parameters.items() if value is not None and value is not False}
    return ("?" if stated else "") + "&".join(f"{name}={_encode_value(value)}" for name, value in stated.items())


def _encode_value(value: bytes | str | int | bool) -> str:
    if value is True:
        return "true"
    return quote_from_bytes(value if isinstance(value, bytes) else str(value).encode(), safe="")


def base_url(gateway: str) -> str:
    """Check the address of a gateway and return it without a trailing slash.

    Raises:
        ValueError: it is not `http://HOST[:PORT]` (or https), or it has a path, a query or a fragment.
    """
    message = f"{gateway!r} is not a gateway's address; it looks like http://127.0.0.1:8000"
    try:
        parts = urlsplit(gateway)
        valid = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and gateway.isprintable()
            and (parts.port is None or parts.port > 0)
        )
    except ValueError as error:
        raise ValueError(message) from error
    if not valid or parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(message)
    return gateway.rstrip("/")
