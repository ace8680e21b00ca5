"""The dashboard: how the cluster is, on one page for a browser.

Guarantees: the page needs nothing but itself and `/v1/cluster`, and a browser lets it load and ask nothing else; its
first lines tell whoever reads it with curl where to go on. Leaves to others: what the page shows (`cluster_routes`).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cluster.gateway.answer import Answer

PAGE = Path(__file__).with_name("page.html").read_bytes()


def _source(tag: bytes) -> str:
    """What a policy calls the text of the page's only element of that name (Content Security Policy Level 3)."""
    _, _, rest = PAGE.partition(b"<%b>" % tag)
    digest = hashlib.sha256(rest.partition(b"</%b>" % tag)[0]).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_POLICY = (
    f"default-src 'none'; script-src {_source(b'script')}; style-src {_source(b'style')}; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DASHBOARD = Answer(
    200,
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-cache\r\n"
    f"Content-Security-Policy: {_POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
    PAGE,
)
