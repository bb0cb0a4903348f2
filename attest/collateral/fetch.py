"""Complete a bundle with the collateral that its evidence needs, each piece stored with the time at which it was fetched."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ssl import DER_cert_to_PEM_cert
from typing import Final

from attest.bundle import Bundle
from attest.collateral.client import REFUSED, Client
from attest.dcap.collateral import document_item, header_chain
from attest.errors import AttestError, MalformedError, Reason
from attest.evidence import Collateral, CollateralItem, CollateralType, Wanted
from attest.kinds import kind_named
from attest.wire import Fields

_ROUNDS: Final = 3  # a manifest makes its signers' revocation answers wanted; nothing goes deeper


@dataclass(frozen=True, slots=True)
class Fetched:
    """The completed bundle, what was added, and what could not be had (verification will say what that means)."""

    bundle: Bundle
    added: tuple[CollateralItem, ...]
    missing: tuple[Reason, ...]


def missing(bundle: Bundle) -> tuple[Wanted, ...]:
    """What the evidence of a bundle needs and its collateral does not have. Raises MalformedError for unreadable evidence."""
    found: dict[tuple[CollateralType, str], Wanted] = {}
    for evidence in bundle.evidence:
        kind = kind_named(evidence.kind)
        for piece in kind.wanted(evidence, bundle.collateral) if kind else ():
            found.setdefault((piece.type, piece.name), piece)
    return tuple(found.values())


def complete(
    bundle: Bundle,
    client: Client,
    *,
    now: Callable[[], datetime],
    refresh: bool = False,
    progress: Callable[[Wanted, int, int], None] | None = None,
) -> Fetched:
    """Fetch what is missing; with ``refresh`` also fetch revocation answers again, which go stale.

    ``now`` is asked once per piece; ``progress`` is told the piece, its number and how many there are. A piece that cannot be had does
    not stop the others. Raises MalformedError for unreadable evidence.
    """
    if refresh:
        kept = tuple(item for item in bundle.collateral.items if item.type not in _REFRESHED)
        bundle = _with(bundle, kept)
    added: list[CollateralItem] = []
    failed: dict[tuple[CollateralType, str], Reason] = {}
    for _ in range(_ROUNDS):
        wanted = [piece for piece in missing(bundle) if (piece.type, piece.name) not in failed]
        if not wanted:
            break
        for number, piece in enumerate(wanted, 1):
            if progress is not None:
                progress(piece, number, len(wanted))
            try:
                item = _item(piece, *client.fetch(piece), now().replace(microsecond=0))
                bundle = _with(bundle, (*bundle.collateral.items, item))
                added.append(item)
            except AttestError as error:
                failed[piece.type, piece.name] = error.reasons[0].about(piece.name)
    return Fetched(bundle, tuple(added), tuple(failed.values()))


# What the vendor issues anew every few days or weeks, and what goes stale for that reason.
_REFRESHED: Final = frozenset({CollateralType.OCSP, CollateralType.CRL, CollateralType.TCB_INFO, CollateralType.QE_IDENTITY})


def _item(piece: Wanted, data: bytes, header: str, at: datetime) -> CollateralItem:
    if piece.form == "signed-document":
        return document_item(data, header_chain(header, f"header {piece.header}"), piece.name, at)
    return CollateralItem(piece.type, piece.name, _content(piece, data), at)


def _content(piece: Wanted, data: bytes) -> bytes:
    if not data:
        raise REFUSED.failure(where=piece.host + piece.path, found="an empty answer", expected=piece.name)
    if piece.form == "der-certificate":
        return DER_cert_to_PEM_cert(data).encode()
    if piece.form == "rim-json":
        try:
            fields = Fields.parse(data, f"answer for {piece.name}")
            if fields.text("id") != piece.name:
                raise REFUSED.failure(where=piece.host + piece.path, found=fields.text("id"), expected=piece.name)
            return base64.b64decode(fields.text("rim"), validate=True)
        except (MalformedError, ValueError) as error:
            raise REFUSED.failure(where=piece.host + piece.path, found=str(error)[:120], expected="a manifest in JSON") from None
    return data


def _with(bundle: Bundle, items: tuple[CollateralItem, ...]) -> Bundle:
    return Bundle.of(
        nonce=bundle.nonce,
        recipient=bundle.recipient,
        binding=bundle.binding,
        evidence=bundle.evidence,
        collateral=Collateral(items),
        recorded_at=bundle.recorded_at,
        origin=bundle.origin,
        note=bundle.note,
    )
