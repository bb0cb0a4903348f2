"""Intel's collateral as items of a bundle, and the readers of the forms in which others keep it.

A TCB Info or QE Identity is one item: ``{"issuerChain": PEM, "signature": hex, "tcbInfo" or "enclaveIdentity": {...}}``. The signed member
stands there exactly as Intel sent it, byte for byte, because the signature is over those bytes; PCS sends the issuer chain in a response
header, which is why it is put in. CRLs are DER, as everywhere.

Sources: Intel SGX and TDX Provisioning Certification Service API version 4; QuoteCollateralV3 as dcap-qvl writes it (version 0.7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from attest import limits
from attest.dcap.checks import COLLATERAL_FORM
from attest.errors import MalformedError
from attest.evidence import CollateralItem, CollateralType
from attest.wire import Fields, Json, base64_bytes, hex_bytes, json_members, pem_blocks, utf8

TCB_INFO: Final = "tcbInfo"
QE_IDENTITY: Final = "enclaveIdentity"
_TYPES: Final = {TCB_INFO: CollateralType.TCB_INFO, QE_IDENTITY: CollateralType.QE_IDENTITY}


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A TCB Info or QE Identity before anything of it is verified.

    value       the signed member
    signed      its bytes as received
    signature   r then s, 64 bytes
    chain       certificates of the signer, PEM, leaf first
    """

    value: Json
    signed: bytes
    signature: bytes
    chain: bytes


def read_document(data: bytes, member: str, name: str) -> SignedDocument:
    """Open one item. Raises MalformedError."""
    members = json_members(data, name, limit=limits.MAX_TCB_DOCUMENT_BYTES)
    if members.keys() != {member, "signature", "issuerChain"}:
        raise COLLATERAL_FORM.failure(where=name, found=", ".join(sorted(members))[:120], expected=f"{member}, signature and issuerChain")
    value, signed = members[member]
    return SignedDocument(value, signed, hex_bytes(_text(members, "signature", name), f"{name}: signature", size=64),
                          _text(members, "issuerChain", name).encode())  # fmt: skip


def document_item(body: bytes, chain: bytes, name: str, fetched_at: datetime) -> CollateralItem:
    """An item from a PCS response: ``body`` as received, ``chain`` the PEM of the issuer chain header. Raises MalformedError."""
    members = json_members(body, name, limit=limits.MAX_TCB_DOCUMENT_BYTES)
    member = next((known for known in _TYPES if known in members), "")
    if members.keys() != {member, "signature"}:
        raise COLLATERAL_FORM.failure(
            where=name, found=", ".join(sorted(members))[:120], expected="signature, and one of tcbInfo and enclaveIdentity"
        )
    return _item(member, members[member][1], _text(members, "signature", name), chain, name, fetched_at)


def header_chain(text: str, name: str) -> bytes:
    """The PEM that stands, percent-encoded, in a PCS response header. Raises MalformedError."""
    pem = unquote(text).encode()
    pem_blocks(pem, "CERTIFICATE", name, most=limits.MAX_CHAIN_LENGTH)
    return pem


def crl_item(data: bytes, name: str, fetched_at: datetime) -> CollateralItem:
    """A CRL item from DER, or from PEM or hex text as caching services give it. Raises MalformedError."""
    if data.startswith(b"-----BEGIN "):
        data = pem_blocks(data, "X509 CRL", name, most=1)[0]
    elif data[:1] != b"\x30":
        data = hex_bytes(utf8(data, name).strip(), name)
    return CollateralItem(CollateralType.CRL, name, data, fetched_at)


_QUOTE_COLLATERAL: Final = frozenset(
    {
        "pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature",
        "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature",
    }
)  # fmt: skip


def is_quote_collateral(members: frozenset[str]) -> bool:
    """Whether a JSON object with these members is a QuoteCollateralV3."""
    return members >= {"tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature"}


def from_quote_collateral(data: bytes, fetched_at: datetime, *, name: str = "collateral") -> tuple[CollateralItem, ...]:
    """The items of a QuoteCollateralV3 in JSON: texts of both documents, signatures and CRLs in hex, issuer chains in PEM.

    ``pck_crl_issuer_chain`` is not kept: the CRL is verified with the certificate that issued the PCK certificate, which the quote carries.
    Raises MalformedError.
    """
    fields = Fields.parse(data, name, limit=4 * limits.MAX_TCB_DOCUMENT_BYTES)
    fields.optional("pck_crl_issuer_chain", fields.text)
    items = [
        _item(
            TCB_INFO,
            fields.text("tcb_info").encode(),
            fields.text("tcb_info_signature"),
            fields.text("tcb_info_issuer_chain").encode(),
            f"{name}-tcb-info",
            fetched_at,
        ),
        _item(
            QE_IDENTITY,
            fields.text("qe_identity").encode(),
            fields.text("qe_identity_signature"),
            fields.text("qe_identity_issuer_chain").encode(),
            f"{name}-qe-identity",
            fetched_at,
        ),
    ]
    for member, label in (("root_ca_crl", "root-crl"), ("pck_crl", "pck-crl")):
        if fields.has(member) and fields.text(member):
            items.append(crl_item(_binary(fields, member), f"{name}-{label}", fetched_at))
    chain = fields.optional("pck_certificate_chain", fields.text)
    if chain:
        items.append(CollateralItem(CollateralType.CERTIFICATES, f"{name}-pck-chain", chain.rstrip("\0").encode(), fetched_at))
    fields.done()
    return tuple(items)


def _binary(fields: Fields, member: str) -> bytes:
    """CRLs stand there in hex, and with some writers in base64."""
    text = fields.text(member)
    try:
        return hex_bytes(text, f"{fields.path}: {member}")
    except MalformedError:
        return base64_bytes(text, f"{fields.path}: {member}")


def _item(member: str, signed: bytes, signature: str, chain: bytes, name: str, fetched_at: datetime) -> CollateralItem:
    pem = json.dumps(utf8(chain, name).rstrip("\0")).encode()
    text = json.dumps(signature).encode()
    data = b'{"issuerChain":%b,"signature":%b,"%b":%b}' % (pem, text, member.encode(), signed)
    return CollateralItem(_TYPES[member], name, data, fetched_at)


def _text(members: Mapping[str, tuple[Json, bytes]], member: str, name: str) -> str:
    value = members[member][0]
    if not isinstance(value, str):
        raise COLLATERAL_FORM.failure(where=name, found=f"{member} is no string", expected="a string")
    return value
