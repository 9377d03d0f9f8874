"""A PATCH of which only the beginning was sent; the rest follows when it is too late."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


class HalfSent:
    """``data`` from the first byte on of an upload; ``sent`` bytes of it have gone out."""

    def __init__(
        self, gateway: str, path: str, headers: Mapping[str, str], data: bytes, sent: int
    ) -> None:
        address = urlsplit(gateway)
        told = {
            "Host": "x",
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(len(data)),
            **headers,
        }
        lines = [f"PATCH {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        self._rest = data[sent:]
        self._connection = socket.create_connection((address.hostname, address.port), timeout=60)
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode() + data[:sent])

    def finish(self) -> bytes:
        """Send the rest: the status line, or nothing where the connection was cut by then."""
        try:
            self._connection.sendall(self._rest)
            return self._connection.recv(4096).partition(b"\r\n")[0]
        except OSError:
            return b""
        finally:
            self.close()

    def close(self) -> None:
        self._connection.close()
