"""CPU and memory of processes, as the kernel tells them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processes import TICKS_PER_S, SumWatch, cpu_s, cpu_s_of, descendants, rss_anon_mib, tree

BURN = "x = sum(range(3_000_000))"


def stat(*times: int) -> str:
    return f"7 (a) b) S 1 7 7 0 -1 4194560 10 0 0 0 {' '.join(map(str, times))} 20 0 1 0 100 1000 10"


def test_cpu_is_that_of_the_process_and_of_children_that_ended() -> None:
    assert cpu_s_of(stat(1, 2, 30, 400)) * TICKS_PER_S == pytest.approx(433)


def test_a_child_is_counted_while_it_runs_and_after_it_was_waited_for() -> None:
    before = cpu_s([os.getpid()])
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu_s([os.getpid()]) > before


def test_a_process_that_is_gone_counts_for_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert cpu_s([ended.pid]) == 0
    assert tree([ended.pid]) == []


def test_a_tree_holds_its_roots_and_all_below_them() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in descendants(os.getpid())
        assert {os.getpid(), child.pid} <= set(tree([os.getpid()]))
        child.communicate(b"\n")


def test_anonymous_memory_is_read_in_mib() -> None:
    assert rss_anon_mib("Name:\tx\nVmRSS:\t 9999 kB\nRssAnon:\t    2048 kB\n") == 2.0
    assert rss_anon_mib("Name:\tx\n") == 0.0


def test_even_a_load_that_is_over_at_once_has_a_sample_of_memory() -> None:
    with SumWatch([os.getpid()]) as memory:
        pass
    assert memory.most_mib > 1
