"""Arguments that several verbs share, and how their text becomes a value. The clock is read here and nowhere below."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attest.errors import AttestError, Reason, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attest.trust import TrustStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (docs/json.md) instead of text.")]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="Judge as of this time, like 2026-11-21T08:00:00Z. Default: now.")]
Trust = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", help="Trust store to use instead of the vendors' roots, such as the simulator's trust.json."),
]
Source = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder or file, or a report that another tool wrote.")]
Companions = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        metavar="FILE",
        help="What belongs to a bare report: certificates (the signing key's chain first), CRL, OCSP answer, manifest. Repeatable.",
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Show every check, every claim and every certificate.")]
Broker = Annotated[
    Path, typer.Option("--broker", metavar="DIR", envvar="ATTEST_BROKER", help="Folder of the broker: its keys, its policies, its ledger.")
]


def now() -> datetime:
    """The time, in whole seconds. The only clock of the command line."""
    return datetime.now(UTC).replace(microsecond=0)


def moment(text: str | None) -> datetime:
    """The time that ``--at`` names, or now. Raises UsageError."""
    if text is None:
        return now()
    from attest.wire import parse_time

    try:
        return parse_time(text, "--at")
    except AttestError:
        raise UsageError.of(
            "--at is not a time", found=repr(text), expected="UTC in whole seconds", fix="write it like 2026-11-21T08:00:00Z"
        ) from None


def challenge(text: str | None) -> bytes | None:
    """The nonce that ``--nonce`` gives. Raises UsageError."""
    if text is None:
        return None
    from attest import limits
    from attest.wire import hex_bytes

    try:
        return hex_bytes(text, "--nonce", size=limits.NONCE_BYTES)
    except AttestError as error:
        raise UsageError.of(
            error.reasons[0].message,
            found=f"{len(text)} characters" if "length" in error.reasons[0].message else error.reasons[0].found,
            expected=f"{2 * limits.NONCE_BYTES} hex digits",
            fix="take it from: attest challenge KEY",
        ) from None


def trust_store(path: Path | None) -> TrustStore:
    """The store that ``--trust`` names, or the vendors' roots. Raises UsageError or MalformedError."""
    from attest.trust import TrustStore

    return TrustStore.production() if path is None else TrustStore.from_json(content(path, "trust store"), path.name)


def content(path: Path, what: str, *, limit: int = 64 << 20) -> bytes:
    """Bytes of a file that somebody named. Raises UsageError when there is none, or when it is larger than anything we read."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UsageError.of(f"there is no {what} at {path}", found=found, expected="a file")
    if path.stat().st_size > limit:
        raise UsageError.of(f"{path} is too large for a {what}", found=f"{path.stat().st_size} bytes", expected=f"at most {limit} bytes")
    return path.read_bytes()


def print_json(document: Mapping[str, object]) -> None:
    """One document on stdout, members in the order of the schema; ASCII, so that nothing in it can steer a terminal."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")


def worse(codes: list[int]) -> int:
    """The exit code of several results: the first of 1, 2, 3, 4, 5, 6 that occurs, otherwise 0."""
    return min((code for code in codes if code), default=0)


def reasons_of(error: AttestError, subject: str = "") -> tuple[Reason, ...]:
    """Reasons of an error, naming ``subject`` where they named nothing."""
    return error.about(subject).reasons if subject else error.reasons
