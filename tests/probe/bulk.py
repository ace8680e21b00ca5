"""Many records, written in batches, and read back.

Guarantees: what may be read back is what each operation of a batch was told (`ledger`). Leaves to others: which keys,
and that nobody else writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from probe.ledger import Ledger, Stored
from probe.reading import read_all

from kvstore.client import Client, Delete, Put
from kvstore.errors import KvError

BATCH_OPS = 1000


class Bulk:
    """Records that are written together."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    async def write(self, client: Client, records: Mapping[str, Stored]) -> None:
        """Put these, and delete those that are None."""
        keys = list(records)
        for first in range(0, len(keys), BATCH_OPS):
            await self._batch(client, {key: records[key] for key in keys[first : first + BATCH_OPS]})

    async def delete_all(self, client: Client) -> None:
        """Delete every key that was ever written."""
        await self.write(client, dict.fromkeys(self._ledger))

    async def check(self, client: Client) -> int:
        """Read all back, while nobody writes; returns how many keys hold a value.

        Raises:
            Lost: one is neither as acknowledged nor as an unknown outcome would leave it.
        """
        values = await read_all(client, list(self._ledger))
        self._ledger.check({key: None if one is None else one.data for key, one in values.items()})
        return len(self._ledger.live())

    async def _batch(self, client: Client, records: Mapping[str, Stored]) -> None:
        asked = {key: self._ledger.ask(key, value) for key, value in records.items()}
        try:
            outcomes = await client.batch(
                [Delete(key) if value is None else Put(key, value) for key, value in records.items()]
            )
        except KvError as error:
            outcomes = [error] * len(asked)
        for (key, number), outcome in zip(asked.items(), outcomes, strict=True):
            if not isinstance(outcome, KvError):
                self._ledger.done(key, number)
            elif outcome.definite:
                self._ledger.refuse(key, number)
