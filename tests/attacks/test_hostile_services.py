"""A publisher, or a mirror, that answers slowly or stops in the middle: the time for a piece is bounded, and half a piece is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from attest.collateral.client import Client
from attest.errors import CannotDecideError
from attest.evidence import CollateralType, Wanted

PIECE = Wanted(CollateralType.CRL, "name", "host.example", "/piece")


@contextmanager
def server(answer: bytes, drip: bytes = b"", pause: float = 0.1) -> Iterator[Client]:
    """Sends ``answer``, then ``drip`` a byte at a time, then hangs up."""

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + answer)
            for byte in drip:
                time.sleep(pause)
                connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Client(mirrors={PIECE.host: address}, tries=1, timeout=0.5, total=0.5)


def test_a_server_that_sends_a_byte_now_and_then_does_not_get_more_time() -> None:
    with server(b"Content-Length: 60\r\n\r\n", drip=b"x" * 60) as client:
        begin = time.monotonic()
        with pytest.raises(CannotDecideError) as refused:
            client.get(PIECE)
    assert refused.value.code == "collateral.unreachable"
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n400\r\nhalf",
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
    ],
)
def test_half_a_piece_is_none(answer: bytes) -> None:
    with server(answer) as client, pytest.raises(CannotDecideError) as refused:
        client.get(PIECE)
    assert refused.value.code == "collateral.unreachable"


@pytest.mark.parametrize("answer", [b"Content-Length: 5\r\n\r\nwhole", b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"])
def test_a_whole_piece_is_one(answer: bytes) -> None:
    with server(answer) as client:
        assert client.get(PIECE) == b"whole"
