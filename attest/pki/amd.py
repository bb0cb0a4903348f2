"""AMD SEV-SNP chains: VCEK or VLEK, signed by ASK or ASVK, signed by ARK (AMD 57230).

Here is what is special about them: the leaf with serial number 0, and names that tie leaf, intermediate and root to one product.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from attest import limits
from attest.checks import Check
from attest.pki.certificate import MALFORMED, PARSE_ERRORS, common_name, place, require_aware, require_readable, short
from attest.pki.chain import AMD_VCEK, AMD_VLEK, Anchor, ChainProfile, VerifiedChain, verify_chain
from attest.wire import bounded

_SOURCE: Final = "AMD 57230 (Versioned Chip Endorsement Key Certificate and KDS Interface)"

NAME: Final = Check(
    "pki.amd.name",
    "names in the AMD certificate chain",
    _SOURCE,
    fix="use the leaf, ASK or ASVK, and ARK of one product, as the AMD key distribution service gives them",
)
AMD_CHECKS: Final = (NAME,)

# The part that the names of all AMD SEV certificates share.
_ORGANISATION: Final = frozenset(
    {
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
    }
)
_ARK: Final = re.compile(r"ARK-([A-Z][a-z]{2,15})\Z")
_SIGNERS: Final = {"SEV-VCEK": (AMD_VCEK, "SEV-{}"), "SEV-VLEK": (AMD_VLEK, "SEV-VLEK-{}")}

_WARNINGS: Final = threading.Lock()


def load_amd_leaf(der: bytes) -> x509.Certificate:
    """A VCEK or VLEK certificate. Raises MalformedError.

    Every one of them has serial number 0, which RFC 5280 forbids. cryptography warns when it loads such a certificate, and says that a
    later version will refuse. This is the only place that reads them and that silences that one warning. Do not read ``serial_number`` of
    the result: it identifies nothing, and warns again.
    """
    bounded(der, limits.MAX_CERTIFICATE_BYTES, "AMD leaf certificate")
    # The filter list is global: the lock keeps two of our own threads from restoring each other's.
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", CryptographyDeprecationWarning)
        try:
            leaf = x509.load_der_x509_certificate(der)
        except PARSE_ERRORS as error:
            raise MALFORMED.failure(where="AMD leaf certificate", found=short(str(error))) from None
    require_readable(leaf, "AMD leaf certificate")
    return leaf


def verify_amd_chain(
    leaf: x509.Certificate,
    intermediate: x509.Certificate,
    root: x509.Certificate,
    *,
    anchors: Sequence[Anchor],
    at: datetime,
    name: str,
) -> VerifiedChain:
    """Verify leaf (VCEK or VLEK), intermediate (ASK or ASVK) and root (ARK) at ``at`` (aware). ``name`` says which chain, for messages.

    The common names must belong together: SEV-VCEK, SEV-{product}, ARK-{product}, or SEV-VLEK, SEV-VLEK-{product}, ARK-{product}.
    The profile of the result, "amd-vcek" or "amd-vlek", says which. ``anchors`` should be the pins of the product that the report names,
    and no other.

    Raises what :func:`verify_chain` raises, and NotAuthenticError for the names.
    """
    require_aware(at)
    profile = _require_names((leaf, intermediate, root), name)
    return verify_chain((leaf, intermediate, root), profile=profile, anchors=anchors, at=at, name=name)


def _require_names(chain: tuple[x509.Certificate, ...], name: str) -> ChainProfile:
    """The profile that the leaf's common name stands for."""
    for index, certificate in enumerate(chain):
        require_readable(certificate, f"{name}, certificate {index}")
        if not _is_of_amd(certificate):
            raise NAME.failure(
                where=place(name, index, certificate),
                found=short(certificate.subject.rfc4514_string()),
                expected="the organisation of AMD SEV",
            )
    leaf, intermediate, root = (common_name(certificate.subject) for certificate in chain)
    if leaf not in _SIGNERS:
        raise NAME.failure(where=place(name, 0, chain[0]), found=leaf, expected=" or ".join(_SIGNERS))
    ark = _ARK.match(root)
    if ark is None:
        raise NAME.failure(where=place(name, 2, chain[2]), found=root, expected="ARK- and the product")
    profile, pattern = _SIGNERS[leaf]
    expected = pattern.format(ark[1])
    if intermediate != expected:
        raise NAME.failure(where=place(name, 1, chain[1]), found=intermediate, expected=expected)
    return profile


@lru_cache(maxsize=256)
def _is_of_amd(certificate: x509.Certificate) -> bool:
    """Whether the subject, common name apart, is the organisation of AMD SEV, each part once."""
    attributes = [(item.oid, item.value) for item in certificate.subject if item.oid != NameOID.COMMON_NAME]
    return len(attributes) == len(_ORGANISATION) and frozenset(attributes) == _ORGANISATION
