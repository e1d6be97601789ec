"""Where a server listens: an address, and a Unix socket for programs of the same user."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import uvicorn

_LOG = logging.getLogger("langbert")
_WAITING = 2048  # connections that may wait to be accepted


class Server(uvicorn.Server):
    """Leaves no Unix socket behind, also where it was a signal that ended it, which then ends the process."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for own in sockets or ():
            if own.family.name == "AF_UNIX":  # still listening: no other server has taken the place
                Path(own.getsockname()).unlink(missing_ok=True)
        await super().shutdown(sockets)


@contextmanager
def listening(host: str, port: int, path: Path | None) -> Iterator[list[socket.socket]]:
    """The sockets, closed after the block.

    Raises:
        OSError: the address cannot be listened on.
    """
    with ExitStack() as closing:
        sockets = []
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            own = closing.enter_context(socket.socket(family))
            if os.name == "posix":
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            own.bind(address)
            own.listen(_WAITING)
            sockets.append(own)
        if path is not None and (local := _local(path)) is not None:
            sockets.append(closing.enter_context(local))
        yield sockets


def _local(path: Path) -> socket.socket | None:
    """A socket at ``path``, in the place of one that nobody listens at any more."""
    if _answers(path):
        return None
    own = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        own.bind(str(path))
        own.listen(_WAITING)
    except OSError as error:
        own.close()
        _LOG.info("%s: programs of this machine cannot ask there: %s", path, error)
        return None
    finally:
        os.umask(before)
    return own


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trying, suppress(OSError):
        trying.connect(str(path))
        return True
    return False
