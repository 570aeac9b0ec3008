"""The server process: one socket on the loopback interface, uvicorn on it. Any other interface is left out."""

import contextlib
import socket

from starlette.applications import Starlette

from nlae.errors import NlaeError

LOOPBACK = "127.0.0.1"


def listen(port: int = 0) -> socket.socket:
    """A socket that only this machine reaches.

    Args:
        port: 0 takes any that is free.

    Raises:
        NlaeError: the port is taken, or may not be used.
    """
    try:
        return socket.create_server((LOOPBACK, int(port)), backlog=64)  # who comes before the server is up waits
    except OSError as error:
        raise NlaeError(f"port={port} cannot be used ({error.strerror}); leave it out to take any free one") from error


def address(opened: socket.socket) -> str:
    """What to type into a browser."""
    return f"http://{LOOPBACK}:{opened.getsockname()[1]}/"


def serve(app: Starlette, opened: socket.socket) -> None:
    """Answer until interrupted, which is how a reader leaves; the socket is closed afterwards."""
    import uvicorn

    with opened, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")).run([opened])
