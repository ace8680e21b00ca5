"""The address of a gateway: bound, and for several workers bound once for each.

Guarantees: an address at which somebody listens is refused, also where it could be shared; the sockets of several
workers listen at one address and nobody else's beside them do that came later, so that the kernel spreads connections
over the workers, and what waits for a worker waits for as long as its socket is open. Leaves to others: accepting.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

from cluster.gateway.settings import GatewaySettings
from kvstore.daemon import bind_address, join_address
from kvstore.errors import OperatorError

BACKLOG = 1024


def bind(settings: GatewaySettings) -> socket.socket:
    """Listen where the settings say.

    Raises:
        OperatorError: it is no address, one beyond this machine, or not free.
    """
    address = bind_address(settings.listen, settings.insecure_bind)
    return _listen(settings, address, socket.AF_INET6 if ":" in address[0] else socket.AF_INET)


def bind_shared(settings: GatewaySettings) -> list[socket.socket]:
    """A socket for each worker, all at the same address; raises as `bind`."""
    with ExitStack() as stack:
        first = stack.enter_context(bind(settings))
        # Only now: with it from the start, a gateway that listens there already would share its connections.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sockets = [first]
        while len(sockets) < settings.workers:
            sockets.append(stack.enter_context(_listen(settings, first.getsockname(), first.family, shares=True)))
        stack.pop_all()
        return sockets


def url_of(listening: socket.socket) -> str:
    """Where clients reach it."""
    host, port = listening.getsockname()[:2]
    return f"http://{join_address(host, port)}"


def _listen(settings: GatewaySettings, address: tuple[str, int], family: int, *, shares: bool = False) -> socket.socket:
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=shares)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise OperatorError(f"cannot listen on {settings.listen}: {reason}") from error
