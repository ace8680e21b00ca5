"""Names of keys, alike in every keyspace: few tenants, so that a directory has some, with keys of each workload.

Guarantees: neighbours in number are of different tenants, so what belongs together is on different partitions. Pure.
"""

from __future__ import annotations

TENANTS = 8


def tenant_name(number: int) -> str:
    """One of the tenants, by any number."""
    return f"t{number % TENANTS}"


def key_name(what: str, number: int) -> str:
    """A key of that sort and number."""
    return f"{tenant_name(number)}/{what}-{number}"
