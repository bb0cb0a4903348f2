"""Recorded OCSP answers (RFC 6960), judged at a given time, signed by the issuer or by a responder that the issuer appointed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, OCSPExtensionOID, SignatureAlgorithmOID

from attest import limits
from attest.checks import Check
from attest.crypto import same, sha256, verify_p384_der
from attest.errors import AttestError, Outcome
from attest.pki.certificate import (
    BASIC,
    PARSE_ERRORS,
    common_name,
    extension,
    is_ca,
    key_words,
    require_aware,
    require_readable,
    require_valid,
    short,
    unknown_critical,
    whole_octets,
)
from attest.pki.chain import KeyType, is_signed_by, key_type
from attest.pki.revocation import RevocationAnswer
from attest.wire import bounded, format_time

_FETCH: Final = "fetch a new OCSP answer for this certificate"
_DISTRUST: Final = "the answer does not come from the certificate's issuer: fetch it again, and do not trust the place it came from"

MALFORMED: Final = Check("pki.ocsp.malformed", "OCSP answer encoding", "RFC 6960 section 4.2.1", Outcome.MALFORMED, fix=_FETCH)
STATUS: Final = Check(
    "pki.ocsp.response-status",
    "OCSP response status",
    "RFC 6960 section 4.2.1",
    Outcome.CANNOT_DECIDE,
    fix="the responder gave no answer; for certificates that it does not know (unauthorized) none can be had",
)
SINGLE: Final = Check("pki.ocsp.single", "number of statements in the OCSP answer", "RFC 6960 section 3.2", fix=_FETCH)
CERT_ID: Final = Check(
    "pki.ocsp.certificate-id",
    "certificate that the OCSP answer speaks of",
    "RFC 6960 section 3.2 (1)",
    fix="this answer is about another certificate: use the one for this certificate",
)
RESPONDER_ID: Final = Check("pki.ocsp.responder-id", "responder named by the OCSP answer", "RFC 6960 section 3.2 (3)", fix=_DISTRUST)
SELF: Final = Check(
    "pki.ocsp.self",
    "independence of the OCSP responder",
    "RFC 6960 section 4.2.2.2",
    fix="the certificate in question may not vouch for itself: fetch the answer from its issuer's responder",
)
RESPONDER_ISSUER: Final = Check("pki.ocsp.responder-issuer", "issuer of the OCSP responder", "RFC 6960 section 4.2.2.2", fix=_DISTRUST)
RESPONDER_USAGE: Final = Check("pki.ocsp.responder-usage", "authority of the OCSP responder", "RFC 6960 section 4.2.2.2", fix=_DISTRUST)
ALGORITHM: Final = Check(
    "pki.ocsp.algorithm", "algorithms of the OCSP answer", "RFC 6960 section 4.3; the vendor's profile fixes them", fix=_DISTRUST
)
SIGNATURE: Final = Check("pki.ocsp.signature", "signature of the OCSP answer", "RFC 6960 section 3.2 (2)", fix=_DISTRUST)
CRITICAL: Final = Check(
    "pki.ocsp.critical-extension",
    "critical extensions of the OCSP answer",
    "RFC 6960 section 4.4",
    fix="the answer carries a critical extension that this version does not know; a newer version may",
)
NONCE: Final = Check(
    "pki.ocsp.nonce",
    "nonce of the OCSP answer",
    "RFC 6960 section 4.4.1, RFC 9654",
    fix="the answer was made for another request: ask again",
)
REVOKED: Final = Check(
    "pki.ocsp.revoked",
    "no revocation by OCSP",
    "RFC 6960 section 2.2",
    fix="the vendor has revoked this certificate: nothing that it vouches for can be trusted; update firmware or reference values",
)
HOLD: Final = Check(
    "pki.ocsp.hold",
    "no hold by OCSP",
    "RFC 5280 section 5.3.1, certificateHold",
    fix="the vendor has put this certificate on hold: update firmware or reference values, or wait until the hold ends",
)
UNKNOWN: Final = Check(
    "pki.ocsp.unknown",
    "status of the certificate by OCSP",
    "RFC 6960 section 2.2",
    Outcome.CANNOT_DECIDE,
    fix="the responder does not know this certificate: ask the responder that its issuer names",
)
NEXT_UPDATE: Final = Check(
    "pki.ocsp.next-update", "end of the OCSP answer's validity", "RFC 6960 section 4.2.2.1", Outcome.CANNOT_DECIDE, fix=_FETCH
)
STALE: Final = Check("pki.ocsp.stale", "freshness of the OCSP answer", "RFC 6960 section 3.2 (6)", Outcome.CANNOT_DECIDE, fix=_FETCH)
FUTURE: Final = Check(
    "pki.ocsp.future",
    "start of the OCSP answer's validity",
    "RFC 6960 section 3.2 (5)",
    Outcome.CANNOT_DECIDE,
    fix="check the time at which the evidence is judged; an answer speaks only from its thisUpdate on",
)
RESPONDER_NOT_YET_VALID: Final = Check(
    "pki.ocsp.responder-not-yet-valid", "start of the OCSP responder's validity", "RFC 5280 section 4.1.2.5", fix=_FETCH
)
RESPONDER_EXPIRED: Final = Check(
    "pki.ocsp.responder-expired", "end of the OCSP responder's validity", "RFC 5280 section 4.1.2.5", fix=_FETCH
)
OCSP_CHECKS: Final = (
    MALFORMED,
    STATUS,
    SINGLE,
    CERT_ID,
    RESPONDER_ID,
    SELF,
    RESPONDER_ISSUER,
    RESPONDER_USAGE,
    ALGORITHM,
    SIGNATURE,
    CRITICAL,
    NONCE,
    REVOKED,
    HOLD,
    NEXT_UPDATE,
    FUTURE,
    STALE,
    RESPONDER_NOT_YET_VALID,
    RESPONDER_EXPIRED,
    UNKNOWN,
)

_CERT_ID_HASHES: Final = {"sha1", "sha256", "sha384"}
_RESPONDER_EXTENSIONS: Final = BASIC | {ExtensionOID.EXTENDED_KEY_USAGE}


def check_ocsp(
    der: bytes,
    *,
    subject: x509.Certificate,
    issuer: x509.Certificate,
    anchors_chain: Sequence[x509.Certificate],
    at: datetime,
    name: str,
    nonce: bytes | None = None,
) -> RevocationAnswer:
    """Whether the DER OCSPResponse ``der`` says that ``subject``, issued by ``issuer``, is good at ``at`` (aware).

    ``anchors_chain`` is the verified chain that both belong to. ``nonce`` is what was sent with the request, when the caller made it: then
    the answer must echo it. None means a recorded answer, which is judged by its validity window alone.

    1. encoding  2. status successful  3. one statement, about this certificate  4. responder named, appointed by the issuer and not the
    subject  5. signature  6. critical extensions, nonce  7. not revoked and not on hold  8. thisUpdate <= at < nextUpdate
    9. responder valid at ``at``  10. status good

    Revocation comes before freshness: an old "revoked" is still a no. The revocation of a responder's own certificate is not checked: the
    issuer appoints it for its short life (RFC 6960 section 4.2.2.2.1).

    Raises MalformedError; NotAuthenticError; CannotDecideError for no answer, unknown, stale and future; ValueError for a naive ``at`` or
    for certificates that are not neighbours in ``anchors_chain``.
    """
    at = require_aware(at)
    chain = tuple(anchors_chain)
    if (subject, issuer) not in tuple(pairwise(chain)):
        raise ValueError("subject and issuer are not neighbours in the verified chain")
    if nonce is None:
        try:
            answer = _remembered(der, subject, issuer)
        except AttestError:
            answer = _authenticate(der, subject, issuer, None, name)  # refusals are not remembered, and name what was judged
    else:
        answer = _authenticate(der, subject, issuer, nonce, name)
    begin, end, responder = answer.begin, answer.end, answer.responder
    if end is None:
        raise NEXT_UPDATE.failure(where=name, found="no nextUpdate", expected="a nextUpdate")
    if at < begin:
        raise FUTURE.failure(where=name, found=f"judged at {format_time(at)}", expected=f"not before {format_time(begin)}")
    if at >= end:
        raise STALE.failure(where=name, found=f"judged at {format_time(at)}", expected=f"before {format_time(end)}")
    where = f"{name}, responder {common_name(responder.subject)}"
    require_valid(responder, at, not_yet=RESPONDER_NOT_YET_VALID, expired=RESPONDER_EXPIRED, where=where)
    if answer.status is not ocsp.OCSPCertStatus.GOOD:
        raise UNKNOWN.failure(where=name, found=answer.status.name.lower(), expected="good")
    return RevocationAnswer(begin, end, sha256(der).hex(), common_name(responder.subject))


@dataclass(frozen=True, slots=True)
class _Answer:
    """An authentic answer that does not say revoked; whether it is fresh and good is judged on every call."""

    begin: datetime
    end: datetime | None
    status: ocsp.OCSPCertStatus
    responder: x509.Certificate


def _authenticate(der: bytes, subject: x509.Certificate, issuer: x509.Certificate, nonce: bytes | None, name: str) -> _Answer:
    """Steps 1 to 7: everything that depends on the bytes alone and on no time."""
    response = _load(der, name)
    statement = _require_statement(response, subject, issuer, name)
    responder = _require_responder(response, subject, issuer, name)
    _require_signature(response, responder, name)
    _require_extensions(response, nonce, name)
    _require_not_revoked(statement, subject, name)
    return _Answer(statement.this_update_utc, statement.next_update_utc, statement.certificate_status, responder)


# All devices of a fleet share most answers. Certificates compare by their bytes, so the key is exactly what was verified.
@lru_cache(maxsize=512)
def _remembered(der: bytes, subject: x509.Certificate, issuer: x509.Certificate) -> _Answer:
    return _authenticate(der, subject, issuer, None, "")


def _load(der: bytes, name: str) -> ocsp.OCSPResponse:
    bounded(der, limits.MAX_OCSP_BYTES, name)
    try:
        response = ocsp.load_der_ocsp_response(der)
        status = response.response_status
        whole = status is not ocsp.OCSPResponseStatus.SUCCESSFUL or whole_octets(der, response.signature)
        if status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            # Everything that is read later, read now: the library parses lazily.
            _ = (response.responder_name, response.responder_key_hash, response.signature_algorithm_oid, response.produced_at_utc)
            _ = [item.value for item in response.extensions]
            for certificate in response.certificates:
                require_readable(certificate, f"{name}, responder")
            statements = list(response.responses)
            _ = [item.value for item in response.single_extensions] if len(statements) == 1 else []
            for single in statements:
                _ = (single.certificate_status, single.this_update_utc, single.next_update_utc, single.revocation_reason)
                _ = (single.hash_algorithm, single.serial_number)
    except PARSE_ERRORS as error:
        raise MALFORMED.failure(where=name, found=short(str(error))) from None
    MALFORMED.require(whole, where=name, found="a signature with unused bits", expected="a signature of whole octets")
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise STATUS.failure(where=name, found=status.name.lower(), expected="successful")
    return response


def _require_statement(
    response: ocsp.OCSPResponse, subject: x509.Certificate, issuer: x509.Certificate, name: str
) -> ocsp.OCSPSingleResponse:
    statements = list(response.responses)
    SINGLE.require(len(statements) == 1, where=name, found=f"{len(statements)} statements", expected="1")
    statement = statements[0]
    algorithm = statement.hash_algorithm.name
    CERT_ID.require(algorithm in _CERT_ID_HASHES, where=name, found=f"certID hash {algorithm}", expected="SHA-1, SHA-256 or SHA-384")
    CERT_ID.require(
        statement.issuer_name_hash == hashlib.new(algorithm, issuer.subject.public_bytes()).digest(),
        where=name,
        found="another issuer's name",
        expected=common_name(issuer.subject),
    )
    CERT_ID.require(
        statement.issuer_key_hash == hashlib.new(algorithm, _key_bits(issuer.public_key())).digest(),
        where=name,
        found="another issuer's key",
        expected=f"the key of {common_name(issuer.subject)}",
    )
    CERT_ID.require(
        statement.serial_number == subject.serial_number,
        where=name,
        found=f"serial number 0x{statement.serial_number:x}",
        expected=f"0x{subject.serial_number:x} ({common_name(subject.subject)})",
    )
    return statement


def _require_responder(response: ocsp.OCSPResponse, subject: x509.Certificate, issuer: x509.Certificate, name: str) -> x509.Certificate:
    """The certificate that signed: the issuer itself, or the one delegate that the answer names and carries."""
    matching = {item for item in (issuer, *response.certificates) if _is_named(response, item)}
    RESPONDER_ID.require(
        len(matching) == 1,
        where=name,
        found=f"{len(matching)} certificates that match the responder",
        expected="the issuer, or one certificate in the answer",
    )
    responder = matching.pop()
    if responder == issuer:
        return issuer
    where = f"{name}, responder {common_name(responder.subject)}"
    SELF.require(
        responder != subject and responder.public_key() != subject.public_key(),
        where=where,
        found="the certificate that is asked about",
        expected="a responder of its issuer",
    )
    _require_delegate(responder, issuer, where)
    return responder


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_key_hash is not None:
        # RFC 6960 section 4.2.1: KeyHash is the SHA-1 of the responder's public key.
        return response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return response.responder_name == certificate.subject


def _require_delegate(responder: x509.Certificate, issuer: x509.Certificate, where: str) -> None:
    RESPONDER_ISSUER.require(
        responder.issuer == issuer.subject,
        where=where,
        found=f"issued by {common_name(responder.issuer)}",
        expected=f"issued by {common_name(issuer.subject)}",
    )
    _require_algorithm(responder, responder.signature_algorithm_oid, where)
    RESPONDER_ISSUER.require(
        is_signed_by(responder, issuer),
        where=where,
        found="a signature that the issuer's key did not make",
        expected=f"a certificate by {common_name(issuer.subject)}",
    )
    purposes = extension(responder, x509.ExtendedKeyUsage)
    RESPONDER_USAGE.require(
        purposes is not None and ExtendedKeyUsageOID.OCSP_SIGNING in purposes.value,
        where=where,
        found="no extended key usage OCSPSigning",
        expected="extended key usage OCSPSigning",
    )
    usage = extension(responder, x509.KeyUsage)
    RESPONDER_USAGE.require(
        usage is not None and usage.value.digital_signature,
        where=where,
        found="no keyUsage digitalSignature",
        expected="keyUsage digitalSignature",
    )
    RESPONDER_USAGE.require(not is_ca(responder), where=where, found="a CA certificate", expected="a certificate for OCSP alone")
    unknown = unknown_critical(responder.extensions, _RESPONDER_EXTENSIONS)
    RESPONDER_USAGE.require(not unknown, where=where, found=f"critical extension {unknown}", expected="none that is unknown")


def _require_algorithm(responder: x509.Certificate, oid: x509.ObjectIdentifier, where: str) -> None:
    ALGORITHM.require(
        key_type(responder) is KeyType.P384,
        where=where,
        found=f"{key_words(responder)} key",
        expected="EC secp384r1 key",
    )
    ALGORITHM.require(
        oid == SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        where=where,
        found=f"signature algorithm {oid.dotted_string}",
        expected="ECDSA with SHA-384",
    )


def _require_signature(response: ocsp.OCSPResponse, responder: x509.Certificate, name: str) -> None:
    where = f"{name}, responder {common_name(responder.subject)}"
    _require_algorithm(responder, response.signature_algorithm_oid, where)
    verify_p384_der(responder.public_key(), response.signature, response.tbs_response_bytes, SIGNATURE, where=where)


def _require_extensions(response: ocsp.OCSPResponse, nonce: bytes | None, name: str) -> None:
    unknown = unknown_critical(response.extensions, frozenset({OCSPExtensionOID.NONCE}))
    unknown = unknown or unknown_critical(response.single_extensions, frozenset())
    CRITICAL.require(not unknown, where=name, found=f"critical extension {unknown}", expected="none that is unknown")
    if nonce is None:
        return
    found = next((item.value.nonce for item in response.extensions if isinstance(item.value, x509.OCSPNonce)), None)
    NONCE.require(
        found is not None and same(found, nonce), where=name, found="no nonce" if found is None else found.hex(), expected=nonce.hex()
    )


def _require_not_revoked(statement: ocsp.OCSPSingleResponse, subject: x509.Certificate, name: str) -> None:
    if statement.certificate_status is not ocsp.OCSPCertStatus.REVOKED:
        return
    time = statement.revocation_time_utc
    reason = statement.revocation_reason
    check = HOLD if reason is x509.ReasonFlags.certificate_hold else REVOKED
    raise check.failure(
        where=name,
        found=f"{common_name(subject.subject)} revoked"
        + (f" at {format_time(time)}" if time is not None else "")
        + (f", reason {reason.value}" if reason is not None else ""),
        expected="good",
    )


def _key_bits(key: CertificatePublicKeyTypes) -> bytes:
    """The content of subjectPublicKey: what issuerKeyHash is computed over (RFC 6960 section 4.1.1)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
