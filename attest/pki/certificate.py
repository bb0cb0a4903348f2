"""One certificate: strict loading, the words for it in messages, and the properties that every chain profile asks for.

cryptography parses lazily, so loading here reads everything that is read later; whatever it cannot read is a
:class:`MalformedError` and never a surprise in the middle of a verification.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from attest import limits
from attest.checks import Check
from attest.errors import Outcome
from attest.wire import bounded, format_time, pem_blocks

MALFORMED: Final = Check(
    "pki.certificate.malformed",
    "certificate encoding",
    "RFC 5280 section 4.1",
    Outcome.MALFORMED,
    fix="get the certificate again from its issuer; it must be one DER X.509 v3 certificate with a positive serial number",
)
CERTIFICATE_CHECKS: Final = (MALFORMED,)

# What cryptography raises while it reads hostile bytes. Its answer to serial numbers below 1 and to names of odd length is a warning
# (UserWarning and what derives from it), which is raised where warnings are errors.
PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)

_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)


def load_certificate(der: bytes, name: str) -> x509.Certificate:
    """One DER certificate. ``name`` says which, for messages. Raises MalformedError."""
    bounded(der, limits.MAX_CERTIFICATE_BYTES, name)
    try:
        certificate, positive = _parsed(der)
    except PARSE_ERRORS as error:
        raise MALFORMED.failure(where=name, found=short(str(error))) from None
    if not positive:
        raise MALFORMED.failure(where=name, found="a serial number below 1", expected="a positive serial number")
    require_readable(certificate, name)
    return certificate


# The same authorities come with every chain: one object each, so that what the library reads of it is read once.
@lru_cache(maxsize=256)
def _parsed(der: bytes) -> tuple[x509.Certificate, bool]:
    """The certificate, and whether its serial number is positive."""
    certificate = x509.load_der_x509_certificate(der)
    return certificate, certificate.serial_number > 0


def load_certificates(pem: bytes, name: str, *, most: int) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, in file order: 1 to ``most``, and nothing else in the file. Raises MalformedError."""
    blocks = pem_blocks(pem, "CERTIFICATE", name, most=most)
    return tuple(load_certificate(der, f"{name}, certificate {index}") for index, der in enumerate(blocks))


def require_readable(certificate: x509.Certificate, name: str) -> None:
    """Read every part that verification reads later. Raises MalformedError."""
    unreadable = _unreadable(certificate)
    if unreadable is not None:
        found, expected = unreadable
        raise MALFORMED.failure(where=name, found=found, expected=expected)


# Asked at every door that a certificate passes through; the answer depends on its bytes alone.
@lru_cache(maxsize=256)
def _unreadable(certificate: x509.Certificate) -> tuple[str, str] | None:
    """What is wrong, and what should be there; None when everything can be read."""
    try:
        version = certificate.version
        _ = (
            certificate.subject,
            certificate.issuer,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            certificate.extensions,
            certificate.public_key(),
            certificate.signature_algorithm_parameters,
            certificate.signature_hash_algorithm,
        )
        whole = whole_octets(certificate.public_bytes(serialization.Encoding.DER), certificate.signature)
    except PARSE_ERRORS as error:
        return short(str(error)), ""
    if not whole:
        return "a signature with unused bits", "a signature of whole octets"
    if version is not x509.Version.v3:
        return f"version {version.name}", "version v3"
    return None


def whole_octets(der: bytes, signature: bytes) -> bool:
    """Whether the BIT STRING of a signature claims no unused bits.

    The library ignores the claim where it changes nothing, so somebody could alter a signed object's bytes, and with them its digest, in a
    place that no signature covers.
    """
    return bool(signature) and der[der.find(signature) - 1] == 0


def extension(certificate: x509.Certificate, kind: type[_ExtensionT]) -> x509.Extension[_ExtensionT] | None:
    """One extension, or None when the certificate does not have it."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def unknown_critical(extensions: Iterable[x509.Extension[x509.ExtensionType]], processed: frozenset[x509.ObjectIdentifier]) -> str:
    """Dotted OID of the first critical extension that is not in ``processed``; empty when there is none."""
    return next((item.oid.dotted_string for item in extensions if item.critical and item.oid not in processed), "")


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints says CA (RFC 5280 section 4.2.1.9)."""
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.value.ca


def common_name(name: x509.Name) -> str:
    """The one commonName, safe to print; empty when there is none or more than one."""
    values = [item.value for item in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(values) != 1:
        return ""
    return short(values[0] if isinstance(values[0], str) else values[0].hex())


def place(name: str, index: int, certificate: x509.Certificate) -> str:
    """ "GPU chain, certificate 2 (NVIDIA GH100 Identity)": the place in messages. Index 0 is the leaf."""
    label = common_name(certificate.subject)
    return f"{name}, certificate {index} ({label})" if label else f"{name}, certificate {index}"


def key_words(certificate: x509.Certificate) -> str:
    """ "EC secp384r1", "RSA 4096": what kind of key a certificate holds."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__


def require_aware(at: datetime) -> datetime:
    """``at`` in UTC. Raises ValueError for a naive time: that is a bug of the caller."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("naive datetime")
    return at.astimezone(UTC)


def require_valid(certificate: x509.Certificate, at: datetime, *, not_yet: Check, expired: Check, where: str) -> None:
    """Refuse a certificate outside its validity, both ends inclusive (RFC 5280 section 4.1.2.5)."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < begin:
        raise not_yet.failure(where=where, found=f"judged at {format_time(at)}", expected=f"not before {format_time(begin)}")
    if at > end:
        raise expired.failure(where=where, found=f"judged at {format_time(at)}", expected=f"not after {format_time(end)}")


def short(text: str) -> str:
    """Untrusted text, printable and of bounded length."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 120 else text[:117] + "..."


BASIC: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
"""The extensions that chain verification itself processes."""
