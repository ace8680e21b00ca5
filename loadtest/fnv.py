"""The hash that YCSB spreads its records with: FNV-1a of a number's eight bytes, lowest first.

Guarantees: the same numbers as YCSB's own `fnvhash64`, so keys and hot records are those of other YCSB runs.
Leaves to others: what is hashed. Sans-IO.
"""

from __future__ import annotations

OFFSET_BASIS = 0xCBF29CE484222325
PRIME = 0x100000001B3
MASK = (1 << 64) - 1
SIGN = 1 << 63


def fnv64(number: int) -> int:
    """Hash `number` (0 to 2^64 - 1) to 0 to 2^63: the absolute value of the signed hash, as in YCSB."""
    hashed = OFFSET_BASIS
    for octet in number.to_bytes(8, "little"):
        hashed = ((hashed ^ octet) * PRIME) & MASK
    return hashed if hashed < SIGN else (1 << 64) - hashed
