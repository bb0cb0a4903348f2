"""Small changes of accepted evidence, every one of which must be refused: for tests and for `make flips`."""

from __future__ import annotations

from collections.abc import Iterator


def flips(data: bytes, *, every_bit: bool) -> Iterator[tuple[str, bytes]]:
    """``data`` with one bit changed, and where: one bit of every byte (bit 0 of byte 0, bit 1 of byte 1, …), or every bit."""
    for offset in range(len(data)):
        for bit in range(8) if every_bit else (offset % 8,):
            changed = bytearray(data)
            changed[offset] ^= 1 << bit
            yield f"byte 0x{offset:04x} bit {bit}", bytes(changed)


def resized(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every proper beginning of ``data``, and ``data`` with 1 to 64 zero bytes behind it."""
    for size in range(len(data)):
        yield f"first {size} bytes", data[:size]
    for more in range(1, 65):
        yield f"{more} bytes more", data + bytes(more)
