"""Why an attestation key is believed to live in a TPM, and what that TPM keeps to itself: two rules about keys, and two roads of trust.

A statement that a software key signed looks exactly like a TPM's. What makes the difference is who vouches for the key: an enrolment, in
which the TPM opened a credential that only the holder of its endorsement key *and* of this very attestation key can open (TPM 2.0 Library
part 1, section 24), or a certificate of a cloud that makes the virtual TPM.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest import limits
from attest.checks import Check, Checklist
from attest.crypto import same, sha256
from attest.evidence import ClaimEnum, Evidence
from attest.kinds.tpm.algorithm import Algorithm, digest, name_of
from attest.kinds.tpm.pcrs import QuotedPcrs
from attest.kinds.tpm.public import Attribute, Public, parse_public
from attest.kinds.tpm.report import Certification, Selection, parse_certification, read_selections
from attest.kinds.tpm.signature import parse_signature, verify_signature
from attest.pki import TPM_AK, VerifiedChain, load_certificates, verify_tpm_chain
from attest.recipient import Kem, Recipient
from attest.trust import Enrolment, Role, TrustStore
from attest.wire import Reader

_ATTRIBUTES: Final = "TPM 2.0 Library part 2, TPMA_OBJECT"

AK_ATTRIBUTES: Final = Check(
    "tpm.ak-attributes",
    "attestation key signs only what its TPM made",
    _ATTRIBUTES,
    fix="create the key with tpm2_createak: restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin, and not decrypt",
)
AK_TRUST: Final = Check(
    "tpm.ak-trust",
    "attestation key known to be in a TPM",
    "TPM 2.0 Library part 1, section 24 (credential protection); RFC 9334 section 12.1.1",
    fix="enrol the key: attest tpm enrol; or send the certificate that the cloud issued for it",
)
AK_CERTIFICATE: Final = Check(
    "tpm.ak-certificate",
    "certificate of the attestation key",
    "TCG, TPM 2.0 Keys for Device Identity and Attestation 1.0",
    fix="send the certificate of the very key that signed the quote",
)
REVOCATION: Final = Check(
    "tpm.revocation",
    "revocation of the attestation key",
    "RFC 5280 section 6.3",
    fix="enrol the key in the trust store: an enrolment is revoked by taking it out",
)
SIGNER: Final = Check(
    "tpm.qualified-signer",
    "place of the attestation key under its endorsement key",
    "TPM 2.0 Library part 1, section 16 (Qualified Names)",
    fix="the key that signed is not the one that was enrolled under this endorsement key: enrol it again",
)
CERTIFY: Final = Check(
    "tpm.certify",
    "certification of the recipient key by the attestation key",
    "TPM 2.0 Library part 3, TPM2_Certify and TPM2_CertifyCreation",
    fix="certify the recipient key with the key that signed the quote: tpm2_certify",
)
CERTIFIED_NAME: Final = Check(
    "tpm.certified-name",
    "name of the certified key",
    "TPM 2.0 Library part 1, section 16 (Names)",
    fix="the certification is that of another key, or the public area is altered: send both of one key",
)
RECIPIENT_ATTRIBUTES: Final = Check(
    "tpm.recipient-attributes",
    "recipient key cannot leave its TPM",
    _ATTRIBUTES,
    fix="create the key with fixedTPM, fixedParent, sensitiveDataOrigin and decrypt, and not restricted, not sign",
)
RECIPIENT_SCHEME: Final = Check(
    "tpm.recipient-scheme",
    "scheme of the recipient key",
    "RFC 8017 section 7.1",
    fix="create the key as rsa2048:oaep-sha256:null, or as an ECDH key on P-384",
)
RECIPIENT_POLICY: Final = Check(
    "tpm.recipient-policy",
    "booted state that the recipient key is bound to",
    "TPM 2.0 Library part 3, TPM2_PolicyPCR",
    fix="make the recipient key again on the machine as it is booted now, and quote the PCRs of its policy: attest tpm recipient",
)
IDENTITY_CHECKS: Final = (AK_ATTRIBUTES, AK_CERTIFICATE, AK_TRUST, SIGNER, REVOCATION)
RECIPIENT_CHECKS: Final = (CERTIFY, CERTIFIED_NAME, RECIPIENT_ATTRIBUTES, RECIPIENT_SCHEME, RECIPIENT_POLICY)

AK_REQUIRED: Final = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN | Attribute.RESTRICTED | Attribute.SIGN
AK_FORBIDDEN: Final = Attribute.DECRYPT | Attribute.X509_SIGN
RECIPIENT_REQUIRED: Final = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN | Attribute.DECRYPT
RECIPIENT_FORBIDDEN: Final = Attribute.RESTRICTED | Attribute.SIGN
_POLICY_PCR: Final = (0x17F).to_bytes(4, "big")  # TPM_CC_PolicyPCR
ENDORSEMENT: Final = 0x4000000B
"""TPM_RH_ENDORSEMENT: handle of the endorsement hierarchy."""


class KeyTrust(ClaimEnum):
    """Why the attestation key is believed to live in a TPM."""

    ENROLLED = "enrolled"  # the trust store names it
    CERTIFIED = "certified"  # a pinned root of a maker of (virtual) TPMs certifies it


class Hierarchy(ClaimEnum):
    """Hierarchy that the attestation key is in: only in the endorsement hierarchy are counters and firmware version true values."""

    ENDORSEMENT = "endorsement"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who vouches for the key: an enrolment, a certificate chain, or both."""

    trust: KeyTrust
    enrolment: Enrolment | None
    chain: VerifiedChain | None
    hierarchy: Hierarchy


def require_attributes(key: Public, check: Check, required: Attribute, forbidden: Attribute) -> None:
    """The key has all of ``required`` and none of ``forbidden``. Raises ``check``'s failure."""
    missing, surplus = required & ~key.attributes, forbidden & key.attributes
    words = " and ".join(text for text in (f"no {missing.words}" if missing else "", f"{surplus.words} set" if surplus else "") if text)
    check.require(
        not missing and not surplus,
        where=f"{key.label}, objectAttributes",
        found=words,
        expected=f"{required.words}, without {forbidden.words}",
    )


def verify_identity(
    evidence: Evidence, ak: Public, qualified_signer: bytes, checks: Checklist, *, trust: TrustStore, at: datetime
) -> Identity:
    """Establish that ``ak`` is a TPM's attestation key.

    1. what the TPM lets it sign  2. its certificate, when one is sent: of this key, chain to a pinned root  3. enrolled or certified
    4. its place under the enrolled endorsement key  5. revocation
    """
    require_attributes(ak, AK_ATTRIBUTES, AK_REQUIRED, AK_FORBIDDEN)  # (1)
    checks.passed(AK_ATTRIBUTES, ak.attributes.words)
    chain = _certificate(evidence, ak, checks, trust=trust, at=at)  # (2)
    enrolment = trust.enrolled(ak.name)  # (3)
    if enrolment is None and chain is None:
        raise AK_TRUST.failure(where="ak", found=f"key {ak.name.hex()}, which nobody vouches for", expected="an enrolment or a certificate")
    if enrolment is not None:
        how = (
            "by credential activation under its endorsement certificate" if enrolment.ek_certificate else "without endorsement certificate"
        )
        checks.passed(AK_TRUST, f"enrolled as {enrolment.label}, {how}")
    elif chain is not None:
        checks.passed(AK_TRUST, f"certified by {chain.anchor.name}")
    hierarchy = Hierarchy.UNKNOWN  # (4)
    if enrolment is not None and enrolment.ek_name:
        expected = _child(_child(ENDORSEMENT.to_bytes(4, "big"), bytes.fromhex(enrolment.ek_name)), ak.name)
        checks.require(
            SIGNER,
            same(qualified_signer, expected),
            where="quote, qualifiedSigner",
            found=qualified_signer.hex(),
            expected=f"{expected.hex()}, endorsement hierarchy",
            detail="endorsement hierarchy, endorsement key, attestation key",
        )
        hierarchy = Hierarchy.ENDORSEMENT
    else:
        checks.passed(SIGNER, "the endorsement key is not known: counters and firmware version may be obfuscated, and become no claims")
    if enrolment is not None:  # (5)
        checks.passed(REVOCATION, "enrolled in this trust store")
        return Identity(KeyTrust.ENROLLED, enrolment, chain, hierarchy)
    checks.not_checked(REVOCATION, "no revocation list of the certificate's issuers is read yet")
    return Identity(KeyTrust.CERTIFIED, None, chain, hierarchy)


def _child(parent: bytes, name: bytes) -> bytes:
    """Qualified Name of a key: its name algorithm, then the digest over the parent's qualified Name and its own Name."""
    algorithm = int.from_bytes(name[:2], "big")
    AK_TRUST.require(
        algorithm in (Algorithm.SHA256, Algorithm.SHA384, Algorithm.SHA512),
        where="enrolment, ek_name",
        found=name_of(algorithm),
        expected="a Name of SHA-256, SHA-384 or SHA-512",
    )
    return name[:2] + digest(algorithm, parent + name)


def _certificate(evidence: Evidence, ak: Public, checks: Checklist, *, trust: TrustStore, at: datetime) -> VerifiedChain | None:
    if "ak-certificates" not in evidence.parts:
        checks.passed(AK_CERTIFICATE, "nothing to check: none was sent")
        return None
    certificates = load_certificates(evidence.part("ak-certificates"), "ak-certificates", most=limits.MAX_CHAIN_LENGTH)
    chain = verify_tpm_chain(certificates, profile=TPM_AK, anchors=trust.for_role(Role.TPM_AK), at=at, name="attestation key chain")
    encodings = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (chain.leaf.public_key(), ak.key)]
    checks.require(
        AK_CERTIFICATE,
        encodings[0] == encodings[1],
        where="ak-certificates, certificate 0",
        found=f"a certificate of key {sha256(encodings[0]).hex()}",
        expected=f"{sha256(encodings[1]).hex()}, the key that signed",
        detail=chain.fingerprints[0],
    )
    return chain


@dataclass(frozen=True, slots=True)
class ResidentKey:
    """A decryption key that the attestation key certified as one that cannot leave the TPM.

    ``pcrs`` are those that must have the quoted values while the TPM uses it; None when it is bound to none.
    """

    public: Public
    certification: Certification
    pcrs: Selection | None

    @property
    def recipient(self) -> Recipient | None:
        """The key as releases name it; None for one that nothing is wrapped to (P-256, RSA 3072)."""
        key = self.public.key
        if isinstance(key, ec.EllipticCurvePublicKey):
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return Recipient(Kem.P384, point) if isinstance(key.curve, ec.SECP384R1) else None
        return Recipient(Kem.RSA2048_OAEP, key.public_numbers().n.to_bytes(256, "big")) if key.key_size == 2048 else None


def verify_resident_key(evidence: Evidence, ak: Public, pcrs: QuotedPcrs, checks: Checklist) -> ResidentKey | None:
    """The certified recipient key, or None when the evidence has none. All three parts, or none of them.

    1. a certification made by the same TPM: magic, kind, signature by the attestation key  2. of this very public area
    3. which the TPM will never give out  4. and which opens one scheme only  5. under a policy of PCRs that are quoted
    """
    if not any(name in evidence.parts for name in ("recipient", "certification", "certification-signature", "recipient-policy")):
        for check in RECIPIENT_CHECKS:
            checks.passed(check, "nothing to check: no recipient key in the TPM was sent")
        return None
    key = parse_public(evidence.part("recipient"), "recipient")
    data = evidence.part("certification")
    certification = parse_certification(data)  # (1)
    signature = parse_signature(evidence.part("certification-signature"), "certification-signature")
    verify_signature(signature, ak, data, CERTIFY, "certification-signature")
    checks.passed(CERTIFY, certification.type.name.lower())
    checks.require(  # (2)
        CERTIFIED_NAME,
        same(certification.name, key.name),
        where="certification, name",
        found=certification.name.hex(),
        expected=key.name.hex(),
        detail=key.name.hex(),
    )
    require_attributes(key, RECIPIENT_ATTRIBUTES, RECIPIENT_REQUIRED, RECIPIENT_FORBIDDEN)  # (3)
    checks.passed(RECIPIENT_ATTRIBUTES, key.attributes.words)
    schemes = {(Algorithm.OAEP, Algorithm.SHA256)} if key.words.startswith("RSA") else {(Algorithm.NULL, Algorithm.NULL)}  # (4)
    schemes |= set() if key.words.startswith("RSA") else {(Algorithm.ECDH, Algorithm.SHA256), (Algorithm.ECDH, Algorithm.SHA384)}
    checks.require(
        RECIPIENT_SCHEME,
        (key.scheme, key.scheme_hash) in schemes and key.symmetric == Algorithm.NULL,
        where="recipient, scheme",
        found=f"{name_of(key.scheme)} with {name_of(key.scheme_hash)}",
        expected="oaep with sha256 for RSA, ecdh or none for P-384",
        detail=key.words,
    )
    return ResidentKey(key, certification, _bound_pcrs(evidence, key, pcrs, checks))


def _bound_pcrs(evidence: Evidence, key: Public, pcrs: QuotedPcrs, checks: Checklist) -> Selection | None:
    """The PCRs without whose quoted values the TPM does not use ``key``.

    The authPolicy must be TPM2_PolicyPCR of the selection that is sent, over the quoted values (TPM 2.0 Library part 3, section 23.7), and
    no authorisation value may stand in for the policy.
    """
    if "recipient-policy" not in evidence.parts:
        checks.passed(RECIPIENT_POLICY, "nothing to check: bound to no PCR")
        return None
    data = evidence.part("recipient-policy")
    reader = Reader(data, "recipient-policy")
    selections = read_selections(reader)
    reader.end()
    quoted = {(bank, pcr): value for bank, values in pcrs.banks.items() for pcr, value in values.items()}
    wanted = [(item.bank, pcr) for item in selections for pcr in item.pcrs]
    RECIPIENT_POLICY.require(
        len(selections) == 1 and all(place in quoted for place in wanted),
        where="recipient-policy",
        found=" + ".join(map(str, selections)),
        expected="PCRs of one bank that are quoted",
    )
    RECIPIENT_POLICY.require(
        not key.attributes & (Attribute.USER_WITH_AUTH | Attribute.ADMIN_WITH_POLICY),
        where="recipient, objectAttributes",
        found=key.attributes.words,
        expected="no userwithauth, no adminwithpolicy: the policy alone",
    )
    algorithm = key.name_algorithm
    values = digest(algorithm, b"".join(quoted[place] for place in wanted))
    policy = digest(algorithm, bytes(len(values)) + _POLICY_PCR + data + values)
    checks.require(
        RECIPIENT_POLICY,
        same(policy, key.policy),
        where="recipient, authPolicy",
        found=key.policy.hex() or "none",
        expected=f"{policy.hex()}, TPM2_PolicyPCR of {selections[0]} as quoted",
        detail=str(selections[0]),
    )
    return selections[0]
