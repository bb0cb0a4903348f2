"""Certificate revocation lists (RFC 5280 section 5): complete lists, signed by the issuer of the certificates that are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from attest import limits
from attest.checks import Check
from attest.crypto import sha256
from attest.errors import Outcome
from attest.pki.certificate import PARSE_ERRORS, common_name, extension, key_words, require_aware, short, unknown_critical, whole_octets
from attest.pki.chain import key_type, require_signature_algorithm
from attest.pki.revocation import RevocationAnswer
from attest.wire import bounded, format_time

_FETCH: Final = "fetch the current CRL from the vendor"

MALFORMED: Final = Check("pki.crl.malformed", "CRL encoding", "RFC 5280 section 5.1", Outcome.MALFORMED, fix=_FETCH)
ISSUER: Final = Check(
    "pki.crl.issuer",
    "issuer of the CRL",
    "RFC 5280 section 6.3.3 (b) and (f)",
    fix="use the CRL of the CA that issued the certificate; that CA must be allowed to sign CRLs",
)
ALGORITHM: Final = Check(
    "pki.crl.algorithm", "signature algorithm of the CRL", "RFC 5280 section 5.1.1.2; the vendor's profile fixes it", fix=_FETCH
)
SIGNATURE: Final = Check("pki.crl.signature", "signature of the CRL", "RFC 5280 section 6.3.3 (g)", fix=_FETCH)
CRITICAL: Final = Check(
    "pki.crl.critical-extension",
    "critical extensions of the CRL",
    "RFC 5280 sections 5.2 and 5.3",
    fix="only complete CRLs of one issuer are understood: no delta, partitioned or indirect CRL",
)
SCOPE: Final = Check(
    "pki.crl.scope",
    "coverage of the CRL",
    "RFC 5280 section 6.3.3 (b)",
    Outcome.CANNOT_DECIDE,
    fix="a CRL speaks only of certificates that its issuer issued: use the CRL of this certificate's issuer",
)
REVOKED: Final = Check(
    "pki.crl.revoked",
    "no revocation by CRL",
    "RFC 5280 section 6.3.3",
    fix="the vendor has revoked this certificate, and nothing that it vouches for can be trusted: update the platform's firmware",
)
NEXT_UPDATE: Final = Check(
    "pki.crl.next-update", "end of the CRL's validity", "RFC 5280 section 5.1.2.5", Outcome.CANNOT_DECIDE, fix=_FETCH
)
STALE: Final = Check("pki.crl.stale", "freshness of the CRL", "RFC 5280 section 6.3.3 (a)", Outcome.CANNOT_DECIDE, fix=_FETCH)
FUTURE: Final = Check(
    "pki.crl.future",
    "start of the CRL's validity",
    "RFC 5280 section 5.1.2.4",
    Outcome.CANNOT_DECIDE,
    fix="check the time at which the evidence is judged; a CRL speaks only from its thisUpdate on",
)
CRL_CHECKS: Final = (MALFORMED, ISSUER, ALGORITHM, SIGNATURE, CRITICAL, SCOPE, REVOKED, NEXT_UPDATE, STALE, FUTURE)

# Critical extensions that need no processing: the CRL number and the authority key change nothing that is decided here.
_CRL_EXTENSIONS: Final = frozenset({ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER})
_ENTRY_EXTENSIONS: Final = frozenset({CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE})


def check_crl(der: bytes, *, issuer: x509.Certificate, subjects: Sequence[x509.Certificate], at: datetime, name: str) -> RevocationAnswer:
    """Whether none of ``subjects`` is on the CRL ``der`` of ``issuer`` at ``at`` (aware).

    ``issuer`` must come from a verified chain, and must itself be the issuer of every subject: a CRL says nothing about certificates of
    other issuers. So the CRL of an ARK covers ASK, ASVK and ARK, never a VCEK or VLEK: those are issued by the ASK or ASVK, and all have
    serial number 0, which an entry could not tell apart.

    1. encoding  2. issuer by name and usage  3. algorithm and signature  4. critical extensions  5. subjects covered  6. not revoked
    7. thisUpdate <= at < nextUpdate

    Revocation comes before freshness: an old "revoked" is still a no.

    Raises MalformedError; NotAuthenticError for issuer, signature, extension and revocation; CannotDecideError for scope and freshness;
    ValueError for a naive ``at`` or no subjects.
    """
    at = require_aware(at)
    if not subjects:
        raise ValueError("no subjects")
    return _verified(der, issuer, tuple(subjects), name).speaking(at)


_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class AuthenticCrl:
    """A CRL that its issuer signed: what is left to judge is time and which certificates are asked about. Made by :func:`read_crl`.

    revoked      serial numbers of all entries
    this_update  from when it speaks, and
    next_update  until when it may be relied on, exclusive (aware UTC; None when it does not say, and then it can never be relied on)
    digest       hex SHA-256 of the DER bytes
    """

    crl: x509.CertificateRevocationList
    issuer: x509.Certificate
    name: str
    revoked: frozenset[int]
    this_update: datetime
    next_update: datetime | None
    digest: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("AuthenticCrl is made by read_crl() only")

    def require_good(self, subject: x509.Certificate) -> None:
        """Steps 5 and 6 of :func:`check_crl`, with its errors."""
        _require_good(self.crl, subject, self.name)

    def speaking(self, at: datetime) -> RevocationAnswer:
        """Step 7 of :func:`check_crl`, with its errors; what it says of certificates must have been asked before."""
        begin, end = self.this_update, self.next_update
        if end is None:
            raise NEXT_UPDATE.failure(where=self.name, found="no nextUpdate", expected="a nextUpdate")
        if at < begin:
            raise FUTURE.failure(where=self.name, found=f"judged at {format_time(at)}", expected=f"not before {format_time(begin)}")
        if at >= end:
            raise STALE.failure(where=self.name, found=f"judged at {format_time(at)}", expected=f"before {format_time(end)}")
        return RevocationAnswer(begin, end, self.digest, common_name(self.issuer.subject))


def read_crl(der: bytes, *, issuer: x509.Certificate, name: str, loaded: x509.CertificateRevocationList | None = None) -> AuthenticCrl:
    """Steps 1 to 4 of :func:`check_crl`, with its errors.

    ``issuer`` must come from a verified chain; ``loaded`` is what :func:`load_crl` made of ``der``, when the caller has it.
    """
    crl = load_crl(der, name) if loaded is None else loaded
    _require_issuer(crl, issuer, name)
    _require_signature(crl, issuer, name)
    _require_known_extensions(crl, der, name)
    revoked = frozenset(entry.serial_number for entry in crl)
    return AuthenticCrl(crl, issuer, name, revoked, crl.last_update_utc, crl.next_update_utc, sha256(der).hex(), _SEAL)


# Everything that does not depend on the time, remembered by the bytes: one CRL answers for a whole fleet.
@lru_cache(maxsize=64)
def _verified(der: bytes, issuer: x509.Certificate, subjects: tuple[x509.Certificate, ...], name: str) -> AuthenticCrl:
    """An authentic CRL on which no subject is."""
    crl = read_crl(der, issuer=issuer, name=name)
    for subject in subjects:
        crl.require_good(subject)
    return crl


def load_crl(der: bytes, name: str) -> x509.CertificateRevocationList:
    """One DER CRL, read as a whole. Unverified. Raises MalformedError."""
    bounded(der, limits.MAX_CRL_BYTES, name)
    try:
        crl = x509.load_der_x509_crl(der)
        # Everything that is read later, read now: the library parses lazily.
        _ = (crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.signature_algorithm_parameters, crl.signature_hash_algorithm)
        _ = [item.value for item in crl.extensions]
        if may_be_critical(der):
            for entry in crl:
                _ = [item.value for item in entry.extensions]
        whole = whole_octets(der, crl.signature)
    except PARSE_ERRORS as error:
        raise MALFORMED.failure(where=name, found=short(str(error))) from None
    MALFORMED.require(whole, where=name, found="a signature with unused bits", expected="a signature of whole octets")
    return crl


def may_be_critical(der: bytes) -> bool:
    """Whether an extension can be critical at all: DER writes that as BOOLEAN TRUE, 01 01 FF (X.690 sections 8.2 and 11.1).

    Entries of long lists need not be read one by one where these octets stand nowhere.
    """
    return b"\x01\x01\xff" in der


def _require_issuer(crl: x509.CertificateRevocationList, issuer: x509.Certificate, name: str) -> None:
    if crl.issuer != issuer.subject:  # the names are put into words only for a refusal
        raise ISSUER.failure(where=name, found=short(crl.issuer.rfc4514_string()), expected=short(issuer.subject.rfc4514_string()))
    usage = extension(issuer, x509.KeyUsage)
    ISSUER.require(
        usage is not None and usage.value.crl_sign, where=name, found="an issuer without keyUsage cRLSign", expected="keyUsage cRLSign"
    )


def _require_signature(crl: x509.CertificateRevocationList, issuer: x509.Certificate, name: str) -> None:
    kind = key_type(issuer)
    key = issuer.public_key()
    if kind is None or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ALGORITHM.failure(where=name, found=f"{key_words(issuer)} key", expected="an EC secp256r1, EC secp384r1 or RSA 4096 key")
    require_signature_algorithm(crl, kind, ALGORITHM, name)
    try:
        good = crl.is_signature_valid(key)
    except PARSE_ERRORS:
        good = False
    if not good:
        raise SIGNATURE.failure(
            where=name, found="a signature that the issuer's key did not make", expected=f"a signature by {common_name(issuer.subject)}"
        )


def _require_known_extensions(crl: x509.CertificateRevocationList, der: bytes, name: str) -> None:
    if not may_be_critical(der):
        return
    unknown = unknown_critical(crl.extensions, _CRL_EXTENSIONS)
    CRITICAL.require(not unknown, where=name, found=f"critical extension {unknown}", expected="none that is unknown")
    for entry in crl:
        unknown = unknown_critical(entry.extensions, _ENTRY_EXTENSIONS)
        CRITICAL.require(
            not unknown,
            where=f"{name}, entry 0x{entry.serial_number:x}",
            found=f"critical extension {unknown}",
            expected="none that is unknown",
        )


def _require_good(crl: x509.CertificateRevocationList, subject: x509.Certificate, name: str) -> None:
    label = common_name(subject.subject)
    SCOPE.require(
        subject.issuer == crl.issuer,
        where=name,
        found=f"{label}, issued by {common_name(subject.issuer)}",
        expected=f"a certificate issued by {common_name(crl.issuer)}",
    )
    try:
        serial = subject.serial_number
    except CryptographyDeprecationWarning:
        serial = 0
    SCOPE.require(serial > 0, where=name, found=f"{label}, serial number {serial}", expected="a serial number that identifies it")
    entry = crl.get_revoked_certificate_by_serial_number(serial)
    if entry is not None:
        raise REVOKED.failure(
            where=f"{name}, entry 0x{entry.serial_number:x}",
            found=f"{label} revoked at {format_time(entry.revocation_date_utc)}{_reason(entry)}",
            expected="no entry",
        )


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        return f", reason {entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value}"
    except (x509.ExtensionNotFound, *PARSE_ERRORS):
        return ""
