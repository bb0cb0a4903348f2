"""Certificate revocation lists: AMD's shape (RSASSA-PSS, signed by the ARK), and P-384."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.crypto import sha256
from attest.errors import AttestError, CannotDecideError, MalformedError, NotAuthenticError
from attest.pki import check_crl

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


class Amd:
    """A chain and what can be asked about it."""

    def __init__(self, forge, **ark_changes):
        self.forge = forge
        self.specs = forge.amd()
        self.specs[1].serial, self.specs[2].serial = 0x10001, 0x10000
        for member, value in ark_changes.items():
            setattr(self.specs[2], member, value)
        self.leaf, self.ask, self.ark = forge.build(self.specs)

    def crl(self, **changes):
        return self.forge.crl(self.specs[2], **changes)

    def check(self, der, *, issuer=None, subjects=None, at=None):
        return check_crl(der, issuer=issuer or self.ark, subjects=subjects or (self.ask,), at=at or self.forge.at, name="test CRL")

    def refused(self, der, error, code, **changes):
        with pytest.raises(error) as caught:
            self.check(der, **changes)
        assert caught.value.code == code
        reason = caught.value.reasons[0]
        assert "test CRL" in reason.where
        assert reason.found
        assert reason.fix
        return reason


@pytest.fixture
def amd(forge):
    return Amd(forge)


def test_a_good_answer(amd, forge):
    der = amd.crl(begin=forge.at - DAY, end=forge.at + DAY)
    answer = amd.check(der, subjects=(amd.ask, amd.ark))
    assert (answer.this_update, answer.next_update) == (forge.at - DAY, forge.at + DAY)
    assert answer.digest == sha256(der).hex()
    assert answer.responder == "ARK-Milan"


def test_entries_of_others_do_not_matter(amd, forge):
    entries = tuple(forge.revocation(serial) for serial in (1, 0x10002, 0x10101))
    assert amd.check(amd.crl(revoked=entries), subjects=(amd.ask, amd.ark))


# -- revoked ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ((x509.CRLReason(x509.ReasonFlags.key_compromise), False),),
        ((x509.CRLReason(x509.ReasonFlags.certificate_hold), False),),
        ((x509.CRLReason(x509.ReasonFlags.remove_from_crl), False),),
        ((x509.InvalidityDate(datetime(2030, 1, 1)), False),),  # noqa: DTZ001
    ],
    ids=["no reason", "compromise", "hold", "remove", "invalid from later"],
)
def test_revoked_ask(amd, forge, extra):
    der = amd.crl(revoked=(forge.revocation(0x10001, *extra),))
    reason = amd.refused(der, NotAuthenticError, "pki.crl.revoked")
    assert "SEV-Milan" in reason.found
    assert "0x10001" in reason.where
    assert amd.check(der, subjects=(amd.ark,))


def test_revoked_among_several_subjects(amd, forge):
    amd.refused(amd.crl(revoked=(forge.revocation(0x10000),)), NotAuthenticError, "pki.crl.revoked", subjects=(amd.ask, amd.ark))


def test_revoked_comes_before_stale_and_future(amd, forge):
    der = amd.crl(revoked=(forge.revocation(0x10001),))
    for at in (forge.at - 10 * DAY, forge.at + 365 * DAY):
        amd.refused(der, NotAuthenticError, "pki.crl.revoked", at=at)


# -- coverage --------------------------------------------------------------------------------------------------------------


def test_leaf_is_not_covered_by_the_ark(amd, forge):
    """An entry with serial number 0 must not revoke every VCEK there is, nor may its absence clear one."""
    for entries in ((), (forge.revocation(1),)):
        amd.refused(amd.crl(revoked=entries), CannotDecideError, "pki.crl.scope", subjects=(amd.ask, amd.leaf))


def test_certificate_of_another_issuer_is_not_covered(amd, forge):
    """Its serial number may even stand on the list: that is another certificate."""
    other = forge.build(forge.device())[1]
    for entries in ((), (forge.revocation(other.serial_number),)):
        amd.refused(amd.crl(revoked=entries), CannotDecideError, "pki.crl.scope", subjects=(amd.ask, other))


def test_serial_number_0_identifies_nothing(forge):
    specs = forge.amd()
    specs[1].usage = ("key_cert_sign", "crl_sign")
    leaf, ask, _ = forge.build(specs)
    with pytest.raises(CannotDecideError) as caught:
        check_crl(forge.crl(specs[1]), issuer=ask, subjects=(leaf,), at=forge.at, name="test CRL")
    assert caught.value.code == "pki.crl.scope"


def test_no_subjects_is_a_bug_of_the_caller(amd, forge):
    with pytest.raises(ValueError, match="no subjects"):
        check_crl(amd.crl(), issuer=amd.ark, subjects=(), at=forge.at, name="test CRL")


# -- freshness ---------------------------------------------------------------------------------------------------------------


def test_window_includes_its_start_and_not_its_end(amd, forge):
    der = amd.crl(begin=forge.at, end=forge.at + DAY)
    assert amd.check(der, at=forge.at)
    assert amd.check(der, at=forge.at + DAY - SECOND)
    amd.refused(der, CannotDecideError, "pki.crl.future", at=forge.at - SECOND)
    amd.refused(der, CannotDecideError, "pki.crl.stale", at=forge.at + DAY)


def test_no_next_update(amd, forge):
    tbs, algorithm, _ = forge.children(amd.crl())
    fields = forge.children(tbs)
    assert fields[4][0] == 0x17  # version, algorithm, issuer, thisUpdate, nextUpdate
    del fields[4]
    der = forge.signed(forge.tlv(0x30, *fields), algorithm, amd.specs[2].key, amd.specs[2])
    amd.refused(der, CannotDecideError, "pki.crl.next-update")


def test_naive_time_is_a_bug_of_the_caller(amd):
    with pytest.raises(ValueError, match="naive"):
        amd.check(amd.crl(), at=datetime(2026, 6, 1))  # noqa: DTZ001


# -- issuer and signature ------------------------------------------------------------------------------------------------------


def test_crl_of_another_issuer(amd, forge):
    other = forge.amd(product="Genoa")
    amd.refused(forge.crl(other[2]), NotAuthenticError, "pki.crl.issuer")


@pytest.mark.parametrize("usage", [None, ("key_cert_sign",)])
def test_issuer_may_not_sign_crls(forge, usage):
    amd = Amd(forge, usage=usage)
    amd.refused(amd.crl(), NotAuthenticError, "pki.crl.issuer")


def test_signature_of_another_ark(amd, forge):
    amd.refused(amd.crl(signer=forge.rsa("ask")), NotAuthenticError, "pki.crl.signature")


def test_altered_entry(amd, forge):
    """Somebody takes the revoked serial number off the list."""
    der = amd.crl(revoked=(forge.revocation(0x10001),))
    assert der.count(b"\x02\x03\x01\x00\x01") == 1
    amd.refused(der.replace(b"\x02\x03\x01\x00\x01", b"\x02\x03\x01\x00\x02"), NotAuthenticError, "pki.crl.signature")


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": hashes.SHA256()},
        {"pss": padding.PSS(padding.MGF1(hashes.SHA384()), 32)},
        {"pss": padding.PSS(padding.MGF1(hashes.SHA256()), 48)},
        {"pss": padding.PKCS1v15()},
    ],
    ids=["hash", "salt", "MGF1 hash", "PKCS #1 v1.5"],
)
def test_signature_parameters(amd, changes):
    amd.refused(amd.crl(**changes), NotAuthenticError, "pki.crl.algorithm")


def test_algorithm_named_inside_differs_from_the_one_outside(amd, forge):
    tbs, algorithm, _ = forge.children(amd.crl())
    fields = forge.children(tbs)
    fields[1] = forge.children(amd.crl(digest=hashes.SHA256()))[1]
    der = forge.signed(forge.tlv(0x30, *fields), algorithm, amd.specs[2].key, amd.specs[2])
    amd.refused(der, MalformedError, "pki.crl.malformed")


def test_signature_with_unused_bits(amd, forge):
    # The last byte is even for one of a few lists; then the claim of an unused bit changes nothing but the bytes.
    lists = (amd.crl(begin=forge.at - DAY - second * SECOND) for second in range(64))
    der = next(der for der in lists if der[-1] % 2 == 0)
    assert amd.check(der)
    amd.refused(der[:-513] + b"\x01" + der[-512:], MalformedError, "pki.crl.malformed")


def test_p384_issuer(forge):
    specs = forge.device()
    chain = forge.build(specs)
    good = forge.crl(specs[2])
    assert check_crl(good, issuer=chain[2], subjects=(chain[1],), at=forge.at, name="test CRL").responder == "GH100 Provisioner ICA"
    for der, code in (
        (forge.crl(specs[2], digest=hashes.SHA256()), "pki.crl.algorithm"),
        (forge.crl(specs[2], signer=forge.p384("other")), "pki.crl.signature"),
        (forge.crl(specs[2], revoked=(forge.revocation(chain[1].serial_number),)), "pki.crl.revoked"),
    ):
        with pytest.raises(NotAuthenticError) as caught:
            check_crl(der, issuer=chain[2], subjects=(chain[1],), at=forge.at, name="test CRL")
        assert caught.value.code == code


@pytest.mark.parametrize("key", ["p256", "rsa", "ed25519"])
def test_issuer_with_another_kind_of_key(forge, key):
    specs = forge.device()
    keys = {"p256": lambda: forge.p256("crl"), "rsa": lambda: forge.rsa("crl", 3072), "ed25519": ed25519.Ed25519PrivateKey.generate}
    specs[2].key = keys[key]()
    if key == "ed25519":
        specs[1].digest = None
    chain = forge.build(specs)
    der = forge.crl(specs[2], signer=forge.p384("whoever"))
    with pytest.raises(NotAuthenticError) as caught:
        check_crl(der, issuer=chain[2], subjects=(chain[1],), at=forge.at, name="test CRL")
    assert caught.value.code == "pki.crl.algorithm"


# -- extensions ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extension",
    [
        UNKNOWN,
        x509.DeltaCRLIndicator(3),
        x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=True,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        ),
    ],
    ids=["unknown", "delta", "partition"],
)
def test_critical_extension_of_the_list(amd, extension):
    amd.refused(amd.crl(extra=((extension, True),)), NotAuthenticError, "pki.crl.critical-extension")


def test_critical_extension_of_an_entry(amd, forge):
    other = x509.CertificateIssuer([x509.DirectoryName(forge.amd_name("SEV-Milan"))])
    entry = forge.revocation(1, (other, True))
    amd.refused(amd.crl(revoked=(entry,)), NotAuthenticError, "pki.crl.critical-extension")


def test_extension_that_is_not_critical(amd):
    assert amd.check(amd.crl(extra=((UNKNOWN, False),)))


def test_verdicts_do_not_depend_on_what_was_judged_before(amd, forge):
    """What does not depend on the time may be remembered: another list, time or subject is another question."""
    good, bad = amd.crl(begin=forge.at, end=forge.at + DAY), amd.crl(signer=forge.rsa("ask"))
    revoking = amd.crl(revoked=(forge.revocation(0x10001),))
    for _ in range(2):
        assert amd.check(good)
        assert amd.check(revoking, subjects=(amd.ark,))
        amd.refused(bad, NotAuthenticError, "pki.crl.signature")
        amd.refused(revoking, NotAuthenticError, "pki.crl.revoked")
        amd.refused(good, CannotDecideError, "pki.crl.stale", at=forge.at + DAY)
        amd.refused(good, CannotDecideError, "pki.crl.future", at=forge.at - SECOND)
        amd.refused(good, CannotDecideError, "pki.crl.scope", subjects=(amd.ask, amd.leaf))


# -- form ----------------------------------------------------------------------------------------------------------------------


def test_every_kind_of_broken_bytes(amd):
    der = amd.crl()
    for broken in (b"", der[:-1], der + b"\0", b"\x30\x00", amd.ask.public_bytes(Encoding.DER)):
        amd.refused(broken, MalformedError, "pki.crl.malformed")
    with pytest.raises(MalformedError) as caught:
        amd.check(der + bytes(limits.MAX_CRL_BYTES))
    assert caught.value.code == "wire.too-long"


@pytest.fixture(scope="module")
def revoking(forge):
    amd = Amd(forge)
    return amd, amd.crl(revoked=(forge.revocation(0x10001, (x509.CRLReason(x509.ReasonFlags.superseded), False)),))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_refused_with_a_type(revoking, data):
    amd, der = revoking
    damaged = bytearray(der)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with pytest.raises(AttestError):
        amd.check(bytes(damaged))
