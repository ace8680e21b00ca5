"""A bank whose money stays the same while it is moved, whatever becomes of the nodes.

Several tasks move random amounts between random accounts, each move one transaction; once a second another transaction
reads all accounts. What is printed as `total` never changes. The exit code is 1 if it ever does, 3 where it could not
be read in the end, else 0.

    python examples/bank.py --gateway http://127.0.0.1:8000 --seconds 60

Needs the Python client only: the environment that `make up` has made, or `pip install .` where the README is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
from collections import Counter

from kvstore.client import Client, If, Incr, Put, Value
from kvstore.errors import KvError, TxnConflict

OPENING = 100
AMOUNT_MAX = 20
# Who lost waits for some part of this, so that the same do not meet again.
CONFLICT_S = 0.05
READ_S_MAX = 5.0
# The operations of one transaction, and so the most accounts that one can read.
ACCOUNTS_MAX = 128


class Bank:
    """Accounts with `OPENING` each; `counted` tells how moves between them ended."""

    def __init__(self, client: Client, accounts: int) -> None:
        self._client = client
        self._accounts = [f"bank/account/{number}" for number in range(accounts)]
        self.total = OPENING * accounts
        self.counted: Counter[str] = Counter()

    async def open(self) -> None:
        """Every account begins anew, at once, so that whoever looks sees the whole of the money."""
        await self._client.txn(then=[Put(account, b"%d" % OPENING) for account in self._accounts])

    async def sum(self) -> int:
        """All money at one moment."""
        read = await self._client.snapshot(self._accounts)
        return sum(int(found.data) for found in read if isinstance(found, Value))

    async def move_for_ever(self) -> None:
        """Move some money from one account to another, again and again."""
        while True:
            payer, payee = random.sample(self._accounts, 2)
            try:
                self.counted[await self._move(payer, payee, random.randint(1, AMOUNT_MAX))] += 1
            except TxnConflict:
                self.counted["conflicts"] += 1
                await asyncio.sleep(random.uniform(0, CONFLICT_S))
            except KvError as error:
                # Nothing happened, or (`OutcomeUnknown`) all of it may have: the total is the same.
                self.counted[error.code] += 1
                await asyncio.sleep(0.1)

    async def _move(self, payer: str, payee: str, amount: int) -> str:
        balance = await self._client.get(payer)
        if int(balance.data) < amount:
            return "too poor"
        moved = await self._client.txn(
            conditions=[If(payer, etag=balance.etag)],
            then=[Incr(payer, by=-amount), Incr(payee, by=amount)],
        )
        return "transfers" if moved.branch == "then" else "changed meanwhile"


async def watch(bank: Bank, stop: asyncio.Event) -> bool:
    """Print a line a second until `stop`; returns whether the total was always the same."""
    seen: Counter[str] = Counter()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        try:
            total = str(await asyncio.wait_for(bank.sum(), READ_S_MAX))
        except (KvError, TimeoutError) as error:
            total = f"not known for now ({getattr(error, 'code', 'too much going on')})"
        news = bank.counted - seen
        seen = bank.counted.copy()
        others = ", ".join(f"{count} {name}" for name, count in sorted(news.items()) if name != "transfers")
        print(f"total {total}  {news['transfers']} transfers  {others}", flush=True)
        if total.isdigit() and int(total) != bank.total:
            return False
    return True


async def run(gateway: str, accounts: int, tasks: int, seconds: float) -> bool:
    """Move money until a signal or so many seconds (0: only a signal); returns whether none came or went."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds:
        loop.call_later(seconds, stop.set)
    async with Client(gateway) as client:
        bank = Bank(client, accounts)
        await bank.open()
        movers = [asyncio.create_task(bank.move_for_ever()) for _ in range(tasks)]
        try:
            is_whole = await watch(bank, stop)
        finally:
            for mover in movers:
                mover.cancel()
            await asyncio.gather(*movers, return_exceptions=True)
        total = await bank.sum()
        print(f"in the end {total} of {bank.total}, after {bank.counted['transfers']} transfers")
        return is_whole and total == bank.total


def main() -> int:
    parser = argparse.ArgumentParser(description="Move money between accounts; the total never changes.")
    parser.add_argument("--gateway", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("--accounts", type=int, default=16, metavar="N")
    parser.add_argument("--tasks", type=int, default=8, metavar="N", help="how many move at the same time")
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S", help="until Ctrl-C without it")
    chosen = parser.parse_args()
    if not 2 <= chosen.accounts <= ACCOUNTS_MAX:
        parser.error(f"--accounts: 2 to {ACCOUNTS_MAX}")
    try:
        is_whole = asyncio.run(run(chosen.gateway, chosen.accounts, chosen.tasks, chosen.seconds))
    except KvError as error:
        print(f"the bank is closed: {error.detail}", file=sys.stderr)
        return 3
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
