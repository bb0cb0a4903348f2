"""Enrolment of a TPM's attestation key: the four messages between a machine and whoever keeps the trust store.

1. machine to operator: public areas and endorsement certificate (:class:`attest.node.tpm.Endorsement`)
2. operator to machine: a credential (:func:`challenge`), after the endorsement certificate was verified
3. machine to operator: the secret in it (TPM2_ActivateCredential), which no other TPM and no other attestation key gives
4. operator: the enrolment (:func:`enrol`), which goes into the trust store

The secret stays with the operator between 2 and 4. TPM 2.0 Library part 1, section 24.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.checks import Check
from attest.crypto import same, sha256
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import SIZES, Algorithm
from attest.kinds.tpm.credential import EK_ATTRIBUTES, SECRET_BYTES, make_credential
from attest.kinds.tpm.identity import AK_ATTRIBUTES, AK_FORBIDDEN, AK_REQUIRED, require_attributes
from attest.kinds.tpm.public import parse_public
from attest.node.tpm import Endorsement
from attest.pki import TPM_EK, Anchor, load_certificate, verify_tpm_chain
from attest.trust import Enrolment

EK_CERTIFICATE: Final = Check(
    "enrol.ek-certificate",
    "certificate of the endorsement key",
    "TCG EK Credential Profile 2.5, section 3",
    fix="send the certificate that stands in the TPM (NV index 0x01C00002) for this endorsement key, and name its maker's authorities",
)
ACTIVATION: Final = Check(
    "enrol.activation",
    "secret that only this TPM with this key could open",
    "TPM 2.0 Library part 3, TPM2_ActivateCredential",
    Outcome.REFUSED,
    "the machine that answered does not hold both keys: begin again on the machine itself",
)
ENROLMENT_CHECKS: Final = (EK_CERTIFICATE, EK_ATTRIBUTES, ACTIVATION)


@dataclass(frozen=True, slots=True)
class Challenge:
    """``credential`` goes to the machine; ``secret`` must not."""

    credential: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"<Challenge of {len(self.credential)} bytes>"


def verify_endorsement(sent: Endorsement, authorities: Sequence[x509.Certificate], anchors: Sequence[Anchor], *, at: datetime) -> str:
    """Hex SHA-256 of the endorsement certificate, verified with the authorities of its maker (issuer first, root last) at ``at``.

    Raises NotAuthenticError: no chain to ``anchors``, not an endorsement certificate, or that of another key.
    """
    EK_CERTIFICATE.require(bool(sent.ek_certificate), found="none", expected="the certificate of the endorsement key")
    leaf = load_certificate(sent.ek_certificate, "endorsement certificate")
    chain = verify_tpm_chain((leaf, *authorities), profile=TPM_EK, anchors=anchors, at=at, name="endorsement key chain")
    ek = parse_public(sent.ek, "ek")
    encodings = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (leaf.public_key(), ek.key)]
    EK_CERTIFICATE.require(
        encodings[0] == encodings[1],
        where="endorsement certificate",
        found=f"a certificate of key {sha256(encodings[0]).hex()}",
        expected=sha256(encodings[1]).hex(),
    )
    return chain.fingerprints[0]


def challenge(sent: Endorsement) -> Challenge:
    """A credential for exactly these two keys. Raises the failure of ``tpm.ek-attributes`` or ``tpm.ak-attributes``."""
    ek, ak = parse_public(sent.ek, "ek"), parse_public(sent.ak, "ak")
    require_attributes(ak, AK_ATTRIBUTES, AK_REQUIRED, AK_FORBIDDEN)
    secret = secrets.token_bytes(SECRET_BYTES)
    seed = secrets.token_bytes(SIZES[Algorithm(ek.name_algorithm)])
    return Challenge(make_credential(ek, ak.name, secret, seed), secret)


def enrol(sent: Endorsement, secret: bytes, answer: bytes, *, label: str, ek_certificate: str) -> Enrolment:
    """The enrolment, when ``answer`` is the ``secret`` of the challenge for these keys.

    ``ek_certificate`` is what :func:`verify_endorsement` returned, or empty for a machine that the operator vouches for himself.
    Raises the failure of ``enrol.activation``.
    """
    ACTIVATION.require(
        len(secret) == SECRET_BYTES and same(secret, answer), found="another answer", expected="the secret in the credential"
    )
    return Enrolment(label, parse_public(sent.ak, "ak").name.hex(), parse_public(sent.ek, "ek").name.hex(), ek_certificate)
