"""The server process: one socket on the loopback interface, uvicorn on it. Any other interface is left out."""

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
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((LOOPBACK, int(port)))
        opened.listen(64)  # who comes before the server is up waits instead of being refused
    except (OSError, OverflowError) as error:
        opened.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise NlaeError(f"port={port} cannot be used ({reason}); leave it out to take any free one") from error
    return opened


def address(opened: socket.socket) -> str:
    """What to type into a browser."""
    return f"http://{LOOPBACK}:{opened.getsockname()[1]}/"


def serve(app: Starlette, opened: socket.socket) -> None:
    """Answer until interrupted; the socket is closed afterwards."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    try:
        server.run(sockets=[opened])
    except KeyboardInterrupt:  # how a reader leaves; uvicorn has shut down by then
        return
    finally:
        opened.close()
