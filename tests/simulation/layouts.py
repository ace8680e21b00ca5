"""Which partition each key of the simulation belongs to, in every layout that the keyspace ever had."""

from __future__ import annotations

from collections.abc import Mapping

from kvstore.map_values import Entry, TransferState

NEWEST = -1


class Layouts:
    """Args: keys: of each partition, at first."""

    def __init__(self, keys: Mapping[int, list[bytes]]) -> None:
        self.keys = [key for of_pid in keys.values() for key in of_pid]
        self._owners = [{key: pid for pid, of_pid in keys.items() for key in of_pid}]

    @property
    def newest(self) -> int:
        """The number of the newest layout."""
        return len(self._owners) - 1

    def follow(self, entries: Mapping[int, Entry]) -> None:
        """The map stands so: whoever has given keys away says which."""
        newest = max((entry.layout for entry in entries.values()), default=0)
        if newest < len(self._owners):
            return
        assert newest == len(self._owners), "a layout follows the one before"
        transfer = next(entry.transfer for entry in entries.values() if entry.layout == newest)
        assert transfer is not None, "a layout is told with the transfer that makes it"
        assert transfer.state is TransferState.SWITCHED, "keys change their partition when the map switches"
        owners = dict(self._owners[-1])
        for key, pid in owners.items():
            if pid == transfer.source and transfer.takes(key):
                owners[key] = transfer.target
        self._owners.append(owners)

    def pid_of(self, key: bytes, layout: int = NEWEST) -> int:
        """The partition that a key belongs to."""
        return self._owners[layout][key]

    def keys_of(self, pid: int, layout: int = NEWEST) -> list[bytes]:
        """The keys of a partition."""
        return [key for key, owner in self._owners[layout].items() if owner == pid]
