"""How many of the files that a process may open its port may take.

Guarantees: whatever connects, half of them are left to the store, to links to others and to HTTP; the limit is raised
where the system lets it be. Leaves to others: keeping to it (`rpc.server`).
"""

from __future__ import annotations

import resource

from kvstore.rpc.server import CONNECTIONS_MAX


def connections_that_fit() -> int:
    """`CONNECTIONS_MAX`, or as many as half of the files are."""
    wanted = 2 * CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, soft // 2)
