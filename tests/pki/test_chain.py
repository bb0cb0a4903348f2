"""Chains under the NVIDIA profiles: one test per rule that breaks only that rule."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from attest.errors import AttestError, MalformedError, NotAuthenticError
from attest.pki import NVIDIA_DEVICE, NVIDIA_RIM, Anchor, ChainProfile, VerifiedChain, load_certificate, verify_chain

PROFILES = {"device": NVIDIA_DEVICE, "rim": NVIDIA_RIM}
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


@pytest.fixture(params=["device", "rim"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def specs(forge, kind):
    """The descriptions of a good chain, to be changed."""
    return getattr(forge, kind)()


@pytest.fixture
def verify(forge, kind):
    """Verify under the profile, pinning the root of the good chain."""
    good = forge.build(getattr(forge, kind)())
    pinned = forge.anchor(good[-1])

    def verify(chain, *, at: datetime = forge.at, anchors: tuple[Anchor, ...] = (pinned,), profile: ChainProfile = PROFILES[kind]):
        return verify_chain(chain, profile=profile, anchors=anchors, at=at, name="test chain")

    return verify


def refused(call: Callable[[], object], code: str, where: str = "") -> NotAuthenticError:
    with pytest.raises(NotAuthenticError) as caught:
        call()
    assert caught.value.code == code
    reason = caught.value.reasons[0]
    assert where in reason.where
    assert reason.where.startswith("test chain")
    assert reason.found
    assert reason.expected
    assert reason.fix
    return caught.value


def test_a_good_chain_is_accepted(forge, specs, verify, kind):
    chain = forge.build(specs)
    verified = verify(chain)
    assert verified.certificates == chain
    assert verified.leaf is chain[0]
    assert verified.profile == f"nvidia-{kind}"
    assert verified.anchor == forge.anchor(chain[-1])
    assert verified.fingerprints == tuple(certificate.fingerprint(hashes.SHA256()).hex() for certificate in chain)


def test_validity_is_the_intersection(forge, specs, verify):
    specs[0].begin = datetime(2025, 5, 1, tzinfo=UTC)
    specs[2].end = datetime(2027, 2, 3, tzinfo=UTC)
    verified = verify(forge.build(specs))
    assert (verified.not_before, verified.not_after) == (specs[0].begin, specs[2].end)


# -- length ----------------------------------------------------------------------------------------------------------------


def test_length_one_missing(forge, specs, verify):
    del specs[2]
    refused(lambda: verify(forge.build(specs)), "pki.chain.length")


def test_length_one_more(forge, specs, verify):
    specs.insert(2, dataclasses.replace(specs[2], subject=forge.name("Another CA"), key=forge.p384("another")))
    refused(lambda: verify(forge.build(specs)), "pki.chain.length")


def test_length_root_alone_and_nothing(forge, specs, verify):
    root = forge.build(specs)[-1]
    refused(lambda: verify((root,)), "pki.chain.length")
    refused(lambda: verify(()), "pki.chain.length")


def test_length_same_name_root_appended(forge, specs, verify):
    chain = forge.build(specs)
    fake = dataclasses.replace(specs[-1], key=forge.p384("fake root"))
    refused(lambda: verify((*chain, *forge.build([fake]))), "pki.chain.length")


# -- order and names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "right"), [(0, 1), (1, 2), (2, 3)])
def test_link_swapped(forge, specs, verify, left, right):
    chain = list(forge.build(specs))
    chain[left], chain[right] = chain[right], chain[left]
    refused(lambda: verify(chain), "pki.chain.link", "certificate")


def test_link_root_first(forge, specs, verify):
    refused(lambda: verify(forge.build(specs)[::-1]), "pki.chain.link", "certificate 0")


def test_link_issuer_of_another_name(forge, specs, verify):
    specs[1].issuer = forge.name("Somebody Else")
    refused(lambda: verify(forge.build(specs)), "pki.chain.link", "certificate 1")


def test_link_root_not_self_issued(forge, specs, verify):
    specs[-1].issuer = forge.name("A Higher Root")
    refused(lambda: verify(forge.build(specs)), "pki.chain.link", f"certificate {len(specs) - 1}")


# -- root ------------------------------------------------------------------------------------------------------------------


def test_anchor_same_name_self_made_root(forge, specs, verify):
    specs[-1].key = forge.p384("self-made root")
    refused(lambda: verify(forge.build(specs)), "pki.chain.anchor", f"certificate {len(specs) - 1}")


def test_anchor_of_the_other_purpose(forge, specs, verify, kind):
    other = forge.build(forge.rim() if kind == "device" else forge.device())
    refused(lambda: verify(forge.build(specs), anchors=(forge.anchor(other[-1]),)), "pki.chain.anchor")


def test_anchor_none_pinned(forge, specs, verify):
    refused(lambda: verify(forge.build(specs), anchors=()), "pki.chain.anchor")


def test_anchor_pins_only_the_root(forge, specs, verify):
    chain = forge.build(specs)
    refused(lambda: verify(chain, anchors=tuple(forge.anchor(certificate) for certificate in chain[:-1])), "pki.chain.anchor")


def test_anchor_any_of_several(forge, specs, verify):
    chain = forge.build(specs)
    other = forge.anchor(chain[1])
    assert verify(chain, anchors=(other, forge.anchor(chain[-1]))).anchor == forge.anchor(chain[-1])


def test_root_signature_of_somebody_else(forge, specs, verify):
    specs[-1].signer = forge.p384("somebody else")
    refused(lambda: verify(forge.build(specs)), "pki.chain.root-signature", f"certificate {len(specs) - 1}")


# -- algorithms ------------------------------------------------------------------------------------------------------------


def test_algorithm_wrong_curve(forge, specs, verify):
    for index in range(len(specs) - 1):
        changed = [dataclasses.replace(spec) for spec in specs]
        changed[index].key = forge.p256("wrong curve")
        refused(lambda: verify(forge.build(changed)), "pki.chain.algorithm", f"certificate {index}")  # noqa: B023


def test_algorithm_rsa_key(forge, specs, verify):
    specs[0].key = forge.rsa("small", 2048)
    refused(lambda: verify(forge.build(specs)), "pki.chain.algorithm", "certificate 0")


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA512(), hashes.SHA3_384()])
def test_algorithm_wrong_hash(forge, specs, verify, digest):
    for index in range(len(specs)):
        changed = [dataclasses.replace(spec) for spec in specs]
        changed[index].digest = digest
        refused(lambda: verify(forge.build(changed)), "pki.chain.algorithm", f"certificate {index}")  # noqa: B023


# -- time ------------------------------------------------------------------------------------------------------------------


def test_validity_of_each_certificate_both_ends_inclusive(forge, specs, verify):
    second = timedelta(seconds=1)
    for index in range(len(specs)):
        changed = [dataclasses.replace(spec) for spec in specs]
        changed[index].begin = forge.at - timedelta(days=1)
        changed[index].end = forge.at + timedelta(days=1)
        chain = forge.build(changed)
        begin, end = changed[index].begin, changed[index].end
        assert verify(chain, at=begin).not_before == begin
        assert verify(chain, at=end).not_after == end
        refused(lambda: verify(chain, at=begin - second), "pki.chain.not-yet-valid", f"certificate {index}")  # noqa: B023
        refused(lambda: verify(chain, at=end + second), "pki.chain.expired", f"certificate {index}")  # noqa: B023


def test_time_without_zone_is_a_bug_of_the_caller(forge, specs, verify):
    with pytest.raises(ValueError, match="naive"):
        verify(forge.build(specs), at=datetime(2026, 6, 1))  # noqa: DTZ001


def test_time_of_another_zone_is_the_same_instant(forge, specs, verify):
    specs[0].end = forge.at
    chain = forge.build(specs)
    zone = datetime.strptime("+0900", "%z").tzinfo
    assert verify(chain, at=forge.at.astimezone(zone)).not_after == forge.at


# -- constraints -----------------------------------------------------------------------------------------------------------

LEAF_DEFECTS = {
    "CA": {"ca": True},
    "keyCertSign": {"usage": ("digital_signature", "key_cert_sign")},
    "cRLSign": {"usage": ("digital_signature", "crl_sign")},
    "no keyUsage": {"usage": None},
    "no digitalSignature": {"usage": ("key_agreement",)},
}
CA_DEFECTS = {
    "not a CA": {"ca": False},
    "no basicConstraints": {"ca": None},
    "basicConstraints not critical": {"ca_critical": False},
    "no keyUsage": {"usage": None},
    "no keyCertSign": {"usage": ("crl_sign", "digital_signature")},
}
NAME_CONSTRAINTS = x509.NameConstraints([x509.DNSName("example.com")], None)


@pytest.mark.parametrize("defect", LEAF_DEFECTS)
def test_constraints_of_the_leaf(forge, specs, verify, defect):
    specs[0] = dataclasses.replace(specs[0], **LEAF_DEFECTS[defect])
    refused(lambda: verify(forge.build(specs)), "pki.chain.constraints", "certificate 0")


@pytest.mark.parametrize("defect", CA_DEFECTS)
def test_constraints_of_each_issuer(forge, specs, verify, defect):
    for index in range(1, len(specs)):
        changed = list(specs)
        # A path length without CA cannot even be encoded.
        changed[index] = dataclasses.replace(specs[index], path_length=None, **CA_DEFECTS[defect])
        refused(lambda: verify(forge.build(changed)), "pki.chain.constraints", f"certificate {index}")  # noqa: B023


def test_constraints_on_names_are_not_ignored(forge, specs, verify):
    specs[2].extra = [(NAME_CONSTRAINTS, False)]
    refused(lambda: verify(forge.build(specs)), "pki.chain.constraints", "certificate 2")


def test_path_length(forge, specs, verify):
    for index in range(2, len(specs)):
        changed = [dataclasses.replace(spec) for spec in specs]
        changed[index].path_length = index - 1
        assert verify(forge.build(changed)).certificates
        changed[index].path_length = index - 2
        refused(lambda: verify(forge.build(changed)), "pki.chain.path-length", f"certificate {index}")  # noqa: B023


@pytest.mark.parametrize(
    "extension",
    [UNKNOWN, x509.PolicyConstraints(0, None), x509.InhibitAnyPolicy(0), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])],
    ids=lambda extension: type(extension).__name__,
)
def test_critical_extension_that_nobody_processes(forge, specs, verify, extension):
    for index in range(len(specs)):
        changed = list(specs)
        changed[index] = dataclasses.replace(specs[index], extra=[(extension, True)])
        refused(lambda: verify(forge.build(changed)), "pki.chain.critical-extension", f"certificate {index}")  # noqa: B023


def test_extension_that_is_not_critical_is_ignored(forge, specs, verify):
    specs[0].extra = [(UNKNOWN, False)]
    assert verify(forge.build(specs)).leaf


# -- signatures ------------------------------------------------------------------------------------------------------------


def test_signature_of_each_certificate(forge, specs, verify):
    for index in range(len(specs) - 1):
        changed = list(specs)
        changed[index] = dataclasses.replace(specs[index], signer=forge.p384("somebody else"))
        refused(lambda: verify(forge.build(changed)), "pki.chain.signature", f"certificate {index}")  # noqa: B023


def test_signature_same_names_another_device(forge, specs, verify):
    chain = forge.build(specs)
    specs[1].key = forge.p384("another device")
    other = forge.build(specs)
    refused(lambda: verify((chain[0], *other[1:])), "pki.chain.signature", "certificate 0")


def test_every_bit_of_the_leaf_counts(forge, specs, verify):
    """Not only what is signed: no other bytes may stand for the same certificate, short of another valid ECDSA signature."""
    chain = forge.build(specs)
    der = chain[0].public_bytes(Encoding.DER)
    for offset in range(len(der)):
        for bit in range(8):
            flipped = bytearray(der)
            flipped[offset] ^= 1 << bit
            with pytest.raises(AttestError):
                verify((load_certificate(bytes(flipped), "test chain"), *chain[1:]))


def test_algorithm_named_inside_differs_from_the_one_outside(forge, specs, verify):
    chain = list(forge.build(specs))
    tbs, algorithm, _ = forge.children(chain[1].public_bytes(Encoding.DER))
    specs[1].digest = hashes.SHA256()
    inside = forge.children(forge.build(specs)[1].public_bytes(Encoding.DER))[1]
    specs[1].digest = hashes.SHA384()
    fields = forge.children(tbs)
    fields[2] = inside
    der = forge.signed(forge.tlv(0x30, *fields), algorithm, specs[2].key, specs[1])
    chain[1] = load_certificate(der, "test chain")
    refused(lambda: verify(chain), "pki.chain.signature", "certificate 1")


def test_verdicts_do_not_depend_on_what_was_judged_before(forge, specs, verify):
    """Signatures of authorities may be remembered, by their bytes: another signature under the same names and keys is another question."""
    chain = forge.build(specs)
    for index in range(1, len(specs)):
        der = bytearray(chain[index].public_bytes(Encoding.DER))
        der[-1] ^= 0x02
        altered = list(chain)
        altered[index] = load_certificate(bytes(der), "test chain")
        code = "pki.chain.signature" if index < len(specs) - 1 else "pki.chain.root-signature"
        for _ in range(2):
            assert verify(chain).certificates == chain
            refused(lambda: verify(altered), code, f"certificate {index}")  # noqa: B023


# -- the result ------------------------------------------------------------------------------------------------------------


def test_a_verified_chain_is_made_by_verification_only(forge, specs, verify):
    verified = verify(forge.build(specs))
    members = {name: getattr(verified, name) for name in ("profile", "certificates", "anchor", "not_before", "not_after")}
    with pytest.raises(TypeError, match="verification only"):
        VerifiedChain(**members, seal=object())
    with pytest.raises(TypeError):
        VerifiedChain(**members)
    with pytest.raises(ValueError, match="seal"):
        dataclasses.replace(verified, profile="other")
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.profile = "other"
    with pytest.raises(TypeError):
        pickle.dumps(verified)
    with pytest.raises(TypeError):
        copy.copy(verified)


# -- differential: cryptography's own path validation, hardened --------------------------------------------------------------

SYNTHETIC = {
    "good": {},
    **{f"leaf: {name}": {0: defect} for name, defect in LEAF_DEFECTS.items()},
    **{f"CA {index}: {name}": {index: defect} for index in (1, 2, 3) for name, defect in CA_DEFECTS.items()},
    "path length": {3: {"path_length": 0}},
    "critical": {2: {"extra": [(UNKNOWN, True)]}},
    "expired": {1: {"end": datetime(2026, 1, 1, tzinfo=UTC)}},
    "future": {2: {"begin": datetime(2027, 1, 1, tzinfo=UTC)}},
    "name constraints": {3: {"extra": [(NAME_CONSTRAINTS, True)]}},
}


def _library_accepts(chain: tuple[x509.Certificate, ...], at: datetime) -> bool:
    ca_policy = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, None)
    )
    leaf_policy = ExtensionPolicy.permit_all().require_present(x509.KeyUsage, Criticality.AGNOSTIC, None)
    verifier = (
        PolicyBuilder()
        .store(Store([chain[-1]]))
        .time(at)
        .extension_policies(ca_policy=ca_policy, ee_policy=leaf_policy)
        .build_client_verifier()
    )
    try:
        return tuple(verifier.verify(chain[0], list(chain[1:-1])).chain) == chain
    except VerificationError:
        return False


@pytest.mark.parametrize("case", SYNTHETIC)
def test_never_laxer_than_the_library(forge, case):
    specs = forge.device()
    # It wants key identifiers, which our rules do not need.
    for index, spec in enumerate(specs):
        issuer = specs[min(index + 1, 4)].key.public_key()
        spec.extra = [
            (x509.SubjectKeyIdentifier.from_public_key(spec.key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False),
        ]
    for index, defect in SYNTHETIC[case].items():
        for member, value in defect.items():
            setattr(specs[index], member, specs[index].extra + value if member == "extra" else value)
    chain = forge.build(specs)
    anchors = (forge.anchor(chain[-1]),)
    try:
        ours = bool(verify_chain(chain, profile=NVIDIA_DEVICE, anchors=anchors, at=forge.at, name="test chain"))
    except NotAuthenticError:
        ours = False
    assert ours is (case == "good")
    if ours:
        assert _library_accepts(chain, forge.at)


def test_a_certificate_that_cannot_be_read(forge, specs, verify):
    chain = list(forge.build(specs))
    tbs, algorithm, signature = forge.children(chain[1].public_bytes(Encoding.DER))
    fields = forge.children(tbs)
    fields[-1] = forge.tlv(0xA3, forge.tlv(0x30, *forge.children(forge.children(fields[-1])[0]) * 2))
    chain[1] = x509.load_der_x509_certificate(forge.tlv(0x30, forge.tlv(0x30, *fields), algorithm, signature))
    with pytest.raises(MalformedError) as caught:
        verify(chain)
    assert caught.value.code == "pki.certificate.malformed"
    assert "certificate 1" in caught.value.reasons[0].where


def test_curve_names_are_not_confused(forge, specs, verify):
    specs[0].key = ec.generate_private_key(ec.BrainpoolP384R1())
    refused(lambda: verify(forge.build(specs)), "pki.chain.algorithm", "certificate 0")
