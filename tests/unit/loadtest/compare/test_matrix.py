"""Which loads are measured, and in which order."""

from __future__ import annotations

from pathlib import Path

from compare.etcd import Etcd
from compare.filling import keys_of, lay_down, lay_down_batches, value_of_size
from compare.machine import field_of
from compare.matrix import BATCH_OPS, GET, KEYS, MIXED, PUT, Combo, combos_of
from compare.own import Own
from compare.rounds import in_turn
from compare.system import System
from compare.webdis import Webdis

SYSTEMS = ("kvstore", "etcd", "redis-everysec", "redis-always")


def test_each_operation_on_100_bytes_at_64_connections_is_measured_everywhere() -> None:
    wanted = {Combo(100, op, 64) for op in (GET, PUT, MIXED)} | {Combo(100, PUT, 256)}
    assert all(wanted <= set(combos_of(name)) for name in SYSTEMS)


def test_nothing_is_measured_twice_and_all_of_it_fits_into_25_minutes() -> None:
    assert all(len(set(combos_of(name))) == len(combos_of(name)) for name in SYSTEMS)
    loads, rounds, seconds = sum(len(combos_of(name)) for name in SYSTEMS), 3, 4
    starts_s = rounds * len(KEYS) * len(SYSTEMS) * 7
    assert loads * rounds * (seconds + 0.5) + starts_s < 20 * 60


def test_each_system_is_first_in_some_round() -> None:
    systems: list[System] = [Own(), Etcd(ports=[]), Webdis("always", port=1)]
    orders = [in_turn(systems, number) for number in range(3)]
    assert [order[0] for order in orders] == systems
    assert all(len(order) == len(systems) for order in orders)


def test_requests_are_laid_down_whole_and_with_their_lengths(tmp_path: Path) -> None:
    reads, writes = lay_down(Own(), 100, tmp_path)
    first = Own().get(keys_of(100)[0])
    assert reads.read_bytes().startswith(b"%d\n" % len(first) + first)
    last = Own().put(keys_of(100)[-1], value_of_size(100))
    assert writes.read_bytes().endswith(b"%d\n" % len(last) + last)


def test_a_batch_has_no_key_twice(tmp_path: Path) -> None:
    batches: list[list[str]] = []

    class Spying(Own):
        def batch_of_gets(self, keys: object) -> bytes:
            batches.append(list(keys))  # type: ignore[call-overload]
            return b""

    lay_down_batches(Spying(), 100, tmp_path)
    assert batches
    assert all(len(set(batch)) == BATCH_OPS for batch in batches)


def test_values_are_as_long_as_asked_for_and_always_the_same() -> None:
    assert all(len(value_of_size(size)) == size for size in KEYS)
    assert value_of_size(100) == value_of_size(100)


def test_a_field_of_the_kernel_is_its_first_value() -> None:
    assert field_of("processor : 0\nmodel name : EPYC: 7\nmodel name : other\n", "model name") == "EPYC: 7"
    assert field_of("processor : 0\n", "model name") == ""
