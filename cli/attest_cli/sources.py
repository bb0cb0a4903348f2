"""From what somebody typed to a bundle: bundles as they are, other tools' files as bundles without nonce, recipient and time.

Formats are recognised by content, never by name. A bare report carries no certificates; ``--with`` adds what belongs to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attest import limits
from attest.binding import Binding
from attest.bundle import MANIFEST, Bundle, BundleOrigin
from attest.dcap.collateral import from_quote_collateral
from attest.errors import MalformedError, UsageError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.kinds import KINDS, kind_named
from attest.pki import load_amd_leaf
from attest.pki.certificate import PARSE_ERRORS
from attest.wire import bounded
from attest_cli.options import content

_CERTIFICATES: Final = "certificates"
"""Name of the part in which a kind expects the chain of its attestation key."""

_BUNDLE: Final = re.compile(rb'\s*\{.*"attest-bundle/', re.DOTALL)


def load(path: Path, companions: Sequence[Path], at: datetime) -> Bundle:
    """The bundle at ``path``, or one made around the evidence that is there. Raises UsageError or MalformedError."""
    if path.is_dir():
        if companions:
            raise UsageError.of("--with goes with a bare report, not with a bundle", found=str(path))
        if not (path / MANIFEST).is_file():
            raise UsageError.of(
                f"{path} is a folder without {MANIFEST}", expected="a bundle", fix="give a bundle folder, a bundle file, or a single report"
            )
        return Bundle.load(path)
    data = content(path, "bundle or report")
    if path.name == MANIFEST and b'"base64"' not in data and path.resolve().parent.joinpath("evidence").is_dir():
        raise UsageError.of(f"{path} is one file of a bundle folder", expected="the folder", fix=f"give the folder: {path.parent}")
    if _is_bundle(data):
        if companions:
            raise UsageError.of("--with goes with a bare report, not with a bundle", found=str(path))
        return Bundle.from_bytes(data, path.name)
    evidence = recognise(data, path.name)
    evidence, collateral = _complete(evidence, companions, at)
    return Bundle.of(
        nonce=None,
        recipient=None,
        binding=Binding.RAW_NONCE,
        evidence=evidence,
        collateral=Collateral(tuple(collateral)),
        recorded_at=None,
        origin=BundleOrigin.RECORDED,
        note="bare evidence, not a bundle",
    )


def recognise(data: bytes, name: str) -> tuple[Evidence, ...]:
    """Evidence in a file of any format that a kind knows. Raises MalformedError when none or several do."""
    bounded(data, limits.MAX_BUNDLE_BYTES, name)
    found = [(kind.name, evidence) for kind in KINDS if (evidence := kind.recognise(data))]
    if len(found) == 1:
        return found[0][1]
    known = ", ".join(kind.name for kind in KINDS)
    if found:
        raise MalformedError.at(
            "evidence.ambiguous", f"{name} reads as evidence of several kinds", found=", ".join(kind for kind, _ in found)
        )
    raise MalformedError.at(
        "evidence.unrecognised",
        f"{name} is neither a bundle nor evidence of a known kind",
        found=_describe(data),
        expected=f"a bundle, or evidence of {known}",
        fix=_meant(data),
    )


def _is_bundle(data: bytes) -> bool:
    return _BUNDLE.match(data[: limits.MAX_BUNDLE_BYTES * 2]) is not None


def _describe(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data.startswith(b"-----BEGIN "):
        return f"PEM {data[11:60].partition(b'-----')[0].decode('ascii', 'replace').lower()}"
    if data.lstrip()[:1] in (b"{", b"["):
        return "other JSON" if _whole_json(data) else "JSON that breaks off, or is damaged"
    return f"{len(data)} bytes that start with {data[:8].hex()}"


def _whole_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _meant(data: bytes) -> str:
    if data.startswith(b"-----BEGIN CERTIFICATE"):
        return "certificates belong to a report: attest verify REPORT --with CERTIFICATES"
    if b'"attest-trust/' in data[:4096]:
        return "this is a trust store: attest verify BUNDLE --trust FILE"
    if b'"attest-release-record/' in data:
        return "this is the record of a release: attest audit record FILE"
    if not data or (data.lstrip()[:1] in (b"{", b"[") and not _whole_json(data)):
        return "copy the file again, whole"
    return "see what is read: attest verify --help"


# -- what belongs to a bare report ----------------------------------------------------------------------------------------


def _complete(
    evidence: tuple[Evidence, ...], companions: Sequence[Path], at: datetime
) -> tuple[tuple[Evidence, ...], list[CollateralItem]]:
    """Evidence with its certificates as the kind expects them, and everything else as collateral."""
    collateral: list[CollateralItem] = []
    for number, path in enumerate(companions):
        data = content(path, "certificate, CRL, OCSP answer, manifest or Intel collateral")
        name = re.sub(r"[^A-Za-z0-9._-]", "-", path.name).lstrip("-._")[:60] or "file"
        if b'"tcb_info_signature"' in data:  # QuoteCollateralV3, the form in which Intel's collateral is handed on
            collateral += from_quote_collateral(data, at, name=f"{number}-{name.removesuffix('.json')}")
            continue
        type_, data = _sort(data, path)
        without = [item for item in evidence if _wants_certificates(item)]
        if type_ is CollateralType.CERTIFICATES and len(without) == 1:
            evidence = tuple(_with_certificates(item, data) if item is without[0] else item for item in evidence)
            continue
        collateral.append(CollateralItem(type_, f"{number}-{name}", data, at))
    return evidence, collateral


def _wants_certificates(item: Evidence) -> bool:
    kind = kind_named(item.kind)
    return kind is not None and _CERTIFICATES in kind.parts and _CERTIFICATES not in item.parts


def _with_certificates(item: Evidence, data: bytes) -> Evidence:
    return Evidence.of(item.kind, item.label, {**item.parts, _CERTIFICATES: data})


def _sort(data: bytes, path: Path) -> tuple[CollateralType, bytes]:
    """What a companion file is, by its content, in the form in which bundles carry it."""
    if data.startswith(b"-----BEGIN CERTIFICATE"):
        return CollateralType.CERTIFICATES, data
    if data.lstrip()[:1] == b"<":
        return CollateralType.RIM, data
    try:
        if data.startswith(b"-----BEGIN X509 CRL"):
            return CollateralType.CRL, x509.load_pem_x509_crl(data).public_bytes(Encoding.DER)
        if _loads(x509.load_der_x509_crl, data):
            return CollateralType.CRL, data
        if _loads(x509.ocsp.load_der_ocsp_response, data):
            return CollateralType.OCSP, data
        load_amd_leaf(data)  # the one reader that takes every certificate: a VCEK has serial number 0
        return CollateralType.CERTIFICATES, DER_cert_to_PEM_cert(data).encode()
    except (MalformedError, *PARSE_ERRORS):
        raise UsageError.of(
            f"--with {path} is nothing that belongs to a report",
            found=_describe(data),
            expected="certificates (PEM or DER), a CRL, an OCSP answer, a reference manifest (XML) or Intel collateral (JSON)",
        ) from None


def _loads(load: object, data: bytes) -> bool:
    try:
        load(data)  # type: ignore[operator]
    except PARSE_ERRORS:
        return False
    return True
