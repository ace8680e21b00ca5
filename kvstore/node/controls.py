"""The control connections of a node: one of each gateway, each of which tells all there is to know.

Guarantees: reports go to all of them, a question to one that is open, and to another one after it gave no answer; what
an older state of the map says of the members is told from what a newer one says. Leaves to others: what is asked and
what entries mean (`shell`, `partitions`), dialling (the gateways).
"""

from __future__ import annotations

from kvstore.messages import MapUpdate, NodeReport
from kvstore.rpc.connection import Connection


class Controls:
    """Begins without a connection."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._map_ver = 0

    @property
    def current(self) -> Connection | None:
        """Whom to ask: the newest one, until it fails."""
        return self._connections[-1] if self._connections else None

    def heard(self, connection: Connection, update: MapUpdate) -> bool:
        """Control spoke on this connection; whether its word on members is not older than what was heard before."""
        if connection not in self._connections:
            self._connections.append(connection)
        is_current = update.map_ver >= self._map_ver
        self._map_ver = max(self._map_ver, update.map_ver)
        return is_current

    def failed(self, connection: Connection) -> None:
        """A question on this connection was not answered as it should be: ask another one next."""
        if connection is self.current:
            self._connections.insert(0, self._connections.pop())

    def closed(self, connection: Connection) -> None:
        """The connection is gone, if it was one of control."""
        if connection in self._connections:
            self._connections.remove(connection)

    def report(self, report: NodeReport) -> None:
        """Tell every control how this node is."""
        for connection in self._connections:
            connection.cast(report)
