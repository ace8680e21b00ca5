"""Which gateway a command asks, where it is told of several.

Guarantees: a single one is taken as it is; of several it is the first that answers, and where none does that is one
error which names them all. Leaves to others: what is asked (the commands).
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from kvstore.client import Unreachable
from kvstore.client.urls import base_url

ANSWERS_WITHIN_S = 2.0


def addresses_of(gateways: str) -> list[str]:
    """The addresses in a list with commas between them.

    Raises:
        ValueError: one is no gateway's address, or there is none.
    """
    return [base_url(one.strip()) for one in gateways.split(",") if one.strip()] or [base_url(gateways)]


def answering(gateways: str, within_s: float = ANSWERS_WITHIN_S) -> str:
    """The only one of a list of addresses, or the first that answers.

    Raises:
        Unreachable: none does.
    """
    urls = addresses_of(gateways)
    if len(urls) == 1:
        return urls[0]
    silent = []
    for url in urls:
        reason = _silence_of(url, within_s)
        if not reason:
            return url
        silent.append(f"{url} ({reason})")
    raise Unreachable(f"no gateway answers: {', '.join(silent)}")


def _silence_of(url: str, within_s: float) -> str:
    """Why a gateway does not answer, empty where it does."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=within_s)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse()
    except TimeoutError:
        return "it took too long"
    except OSError as error:
        return error.strerror or str(error)
    except HTTPException as error:
        return f"{type(error).__name__} {error}".rstrip()
    finally:
        connection.close()
    return ""
